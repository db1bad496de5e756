"""Lines of a config file: where an entry is that a rule comes from."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import yaml

from optimbuild.config.parsing import MAX_BYTES, MAX_FILES
from optimbuild.messages import printable

Keys = tuple[str | int, ...]
"""A path in a config, such as ``("rules", 1)``."""
Search = Callable[[Keys], tuple[int, int]]
"""A function from a path to how many of its keys a file has, and the line of the last one of them."""

_KEY = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_BASES = ("BASE", "_base_")
"""The keys under which a file names those that it inherits from."""


def rule_places(path: str, keys: Sequence[str], overrides: Sequence[str] = ()) -> list[str]:
    """Return the places of entries of a config file, such as ``config.yaml:4``; empty where one cannot be found.

    The file is read again, and never run.

    Args:
        path: A YAML, JSON or Python file; those that it inherits from are searched too.
        keys: The paths of the entries, such as ``rules[1]``.
        overrides: ``KEY=VALUE``; one that changes an entry is added to its place.

    >>> rule_places("configs/vit_l.yaml", ["rules[0]", "rules[9].x"])
    ['configs/vit_l.yaml:6', 'configs/vit_l.yaml:5']
    """
    files = _files(path)
    return [", ".join([*_place(files, key), *_overriding(overrides, key)]) for key in keys]


def _place(files: Sequence[tuple[str, Search]], key: str) -> list[str]:
    found = [(*search(_split(key)), file) for file, search in files]
    depth, line, file = max(found, key=lambda each: each[0], default=(0, 0, ""))
    return [f"{printable(file)}:{line}"] if depth else []


def _overriding(overrides: Sequence[str], key: str) -> list[str]:
    """Return the overrides of an entry, of a part of it, or of what it is in."""
    entry = _split(key)
    return [
        f"--set {printable(override)}"
        for override in overrides
        for changed in [_split(override.partition("=")[0])]
        if changed[: len(entry)] == entry[: len(changed)]
    ]


def _split(key: str) -> Keys:
    return tuple([int(place) if place else name for name, place in _KEY.findall(key)])


def _files(path: str) -> list[tuple[str, Search]]:
    """Return a file and those that it inherits from, the nearest first."""
    found: dict[str, Search] = {}
    left = [path]
    while left and len(found) < MAX_FILES:
        file = left.pop(0)
        if file in found:
            continue
        try:
            with open(file, encoding="utf-8") as opened:
                text = opened.read(MAX_BYTES)
            found[file], bases = _python(text) if file.endswith(".py") else _yaml(text)
        except (OSError, ValueError, SyntaxError, RecursionError, yaml.YAMLError):
            continue
        left += [os.path.join(os.path.dirname(file), base) for base in bases if base]
    return list(found.items())


def _yaml(text: str) -> tuple[Search, list[str]]:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    bases = [node for key in _BASES for node in _yaml_nodes(_yaml_value(root, key))]
    return partial(_deepest, root, _yaml_step), [str(node.value) for node in bases]


def _yaml_nodes(node: Any) -> list[Any]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    return [node] if isinstance(node, yaml.ScalarNode) else []


def _yaml_value(node: Any, key: str | int) -> Any:
    step = _yaml_step(node, key)
    return None if step is None else step[0]


def _yaml_step(node: Any, key: str | int) -> tuple[Any, int] | None:
    """Return the node under a key, and its line."""
    if isinstance(node, yaml.MappingNode):
        return next(((value, name.start_mark.line + 1) for name, value in node.value if name.value == str(key)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark.line + 1
    return None


def _python(text: str) -> tuple[Search, list[str]]:
    root = ast.parse(text)
    base = _python_step(root, "_base_")
    nodes = [] if base is None else [base[0], *getattr(base[0], "elts", ())]
    bases = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return partial(_deepest, root, _python_step), bases


def _python_step(node: Any, key: str | int) -> tuple[Any, int] | None:
    """Return the expression under a key of a module, a mapping or a list, and its line."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(node, ast.Module):
        assigned = [found for found in node.body if isinstance(found, ast.Assign)]
        pairs = [(getattr(target, "id", None), found.value) for found in assigned[::-1] for target in found.targets]
    elif isinstance(node, ast.Call):
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.Dict):
        pairs = [(getattr(name, "value", None), value) for name, value in zip(node.keys, node.values, strict=True)]
    elif isinstance(node, (ast.List, ast.Tuple)):
        pairs = list(enumerate(node.elts))
    return next(((value, value.lineno) for name, value in pairs if name == key), None)


def _deepest(node: Any, step: Callable[[Any, str | int], tuple[Any, int] | None], keys: Keys) -> tuple[int, int]:
    """Follow a path as far as there are entries: return how many, and the line of the last one."""
    line = 0
    for depth, key in enumerate(keys):
        found = step(node, key)
        if found is None:
            return depth, line
        node, line = found
    return len(keys), line
