"""YAML and JSON, read safely: no code runs, no key is lost, and no text takes long."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.values import MAX_VALUES

MAX_FILES = 100
"""The limit on the number of files that a config inherits from, itself included."""
MAX_BYTES = 2**18
"""The limit on the size of these files together."""
MAX_MERGED = 10_000
"""The limit on the number of keys that the merges of a file copy."""
MAX_BASE_60 = 100
"""The limit on the length of an integer in base 60, such as ``1:30``: YAML 1.1 has them, and reading is quadratic."""


@dataclass
class Budget:
    """What may still be read of a config, in all files together."""

    files: int = MAX_FILES
    bytes: int = MAX_BYTES
    values: int = MAX_VALUES


class _Loader(yaml.SafeLoader):
    """YAML without tags that run code and without repeated keys, and with limits.

    Args:
        text: The YAML text.
        budget: What may still be read.
    """

    def __init__(self, text: str, budget: Budget) -> None:
        super().__init__(text)
        self.budget = budget
        self.merged = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.budget.values -= 1
        if self.budget.values < 0:
            raise ConfigError(f"holds more than {MAX_VALUES} values")
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: Any) -> int:
        if ":" in node.value and len(node.value) > MAX_BASE_60:
            reason = f"an integer in base 60 has at most {MAX_BASE_60} characters"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
        return int(super().construct_yaml_int(node))

    def flatten_mapping(self, node: Any) -> None:
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for below in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                    if isinstance(below, yaml.MappingNode):
                        self.flatten_mapping(below)
                        self.merged += len(below.value)
                    if self.merged > MAX_MERGED:  # merges of merges grow exponentially
                        raise yaml.constructor.ConstructorError(None, None, "too much is merged (<<)", key.start_mark)
        super().flatten_mapping(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                name = self.construct_object(key)
                if name in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {shown(name)} stands twice", key.start_mark
                    )
                seen.add(name)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parsed_yaml(text: str, budget: Budget | None = None) -> Any:
    """Return the data of a YAML text.

    Args:
        text: The text.
        budget: What may still be read of a config; by default the text is all of it.

    Raises:
        ConfigError: The text holds too many values.
        ValueError: The text is not YAML, has an impossible value, or is nested too deep; the message is one line.
    """
    loader = None
    try:
        loader = _Loader(text, budget or Budget())
        return loader.get_single_data()
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  # PyYAML lets every exception of its constructors escape
        raise ValueError(_one_line(error)) from None
    finally:
        if loader is not None:
            loader.dispose()


def parsed_json(text: str) -> Any:
    """Return the data of a JSON text.

    Raises:
        ValueError: The text is not JSON, repeats a key, or is nested too deep; the message is one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"key {shown(name)} stands twice")
        made[name] = value
    return made


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    problem = getattr(error, "problem", None) or str(error)
    return " ".join(str(problem).split())[:300] + where
