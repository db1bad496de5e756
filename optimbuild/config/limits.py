"""Limits on what a config asks for, so that planning on a small model never takes long."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.model.patterns import is_wildcard
from optimbuild.values import join

MAX_RULES = 1000
MAX_WILDCARDS = 2000
"""The limit on the number of texts in the rules that are a pattern and not only a name."""
MAX_WILDCARD_LENGTH = 100_000
"""The limit on the length of these texts together, in characters."""


def refuse_excess(config: Mapping[str, Any], path: str = "") -> None:
    """Raise a ConfigError that names the limit which a config in our own dialect exceeds.

    Args:
        config: The config, as plain data.
        path: Its path in a larger config, for messages.
    """
    rules = config.get("rules")
    if not isinstance(rules, tuple):
        return
    where = join(path, "rules")
    if len(rules) > MAX_RULES:
        raise ConfigError(f"a config has at most {MAX_RULES} rules, not {len(rules)}", where)
    wildcards = [text for text in _texts(rules) if is_wildcard(text)]
    if len(wildcards) > MAX_WILDCARDS:
        reason = f"at most {MAX_WILDCARDS} patterns with `*`, `?`, `{{` or `re:`"
        raise ConfigError(
            f"a config has {reason}, not {len(wildcards)}; a shorter list of wider patterns is enough", where
        )
    length = sum(map(len, wildcards))
    if length > MAX_WILDCARD_LENGTH:
        reason = f"at most {MAX_WILDCARD_LENGTH} characters together"
        raise ConfigError(f"patterns with `*`, `?`, `{{` or `re:` have {reason}, not {length}", where)


def _texts(value: Any) -> Iterator[str]:
    """Yield the strings in plain data, the keys of mappings included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, dict)):
        for item in value:
            yield from _texts(item)
        for item in value.values() if isinstance(value, dict) else ():
            yield from _texts(item)
