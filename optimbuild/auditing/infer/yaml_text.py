"""A config as YAML, one line for each rule, and for each entry of a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def yaml_text(config: Mapping[str, Any]) -> str:
    """Return a config as YAML that our dialect reads.

    Args:
        config: The config.

    >>> print(yaml_text({"optimizer": {"type": "sgd", "lr": 1e-05}, "rules": [{"type": "no_decay"}]}), end="")
    optimizer: {type: sgd, lr: 1.0e-05}
    rules:
      - {type: no_decay}
    """
    lines = [f"optimizer: {_flow(config['optimizer'])}"]
    if others := config.get("optimizers"):
        lines += ["optimizers:", *[f"  {_flow(name)}: {_flow(options)}" for name, options in others.items()]]
    lines += [
        f"{key}: {_flow(value)}" for key, value in config.items() if key not in ("optimizer", "optimizers", "rules")
    ]
    if rules := config.get("rules"):
        lines += ["rules:", *[line for rule in rules for line in _rule(rule)]]
    return "".join(f"{line}\n" for line in lines)


def _rule(rule: Mapping[str, Any]) -> list[str]:
    if "table" not in rule:
        return [f"  - {_flow(rule)}"]
    entries = [f"      {_flow(pattern)}: {_flow(edit)}" for pattern, edit in rule["table"].items()]
    return [f"  - type: {rule['type']}", "    table:", *entries]


def _flow(value: Any) -> str:
    """Return a value on one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return text.removesuffix("\n...\n").removesuffix("\n")
