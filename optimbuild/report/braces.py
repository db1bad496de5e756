"""Several patterns as one, with braces: ``blocks.{0..3}.{norm,mlp.fc1}.bias``."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.model.globs import expanded
from optimbuild.model.patterns import MAX_LENGTH

Path = tuple[str, ...]
"""The segments of a pattern."""


def braced(paths: Sequence[Path]) -> str:
    """Return one pattern that matches what any of some patterns does.

    >>> braced([("blocks", "0", "norm", "bias"), ("blocks", "0", "fc", "bias")]), braced([("a", "x"), ("b",)])
    ('blocks.0.{norm,fc}.bias', '{a.x,b}')
    >>> braced([("blocks",), ("blocks", "norm"), ("blocks", "fc")])
    '{blocks,blocks.{norm,fc}}'
    """
    if len(paths) == 1:
        return ".".join(paths[0])
    shortest = min(map(len, paths))
    start = 0
    while start < shortest - 1 and len({path[start] for path in paths}) == 1:
        start += 1
    end = 0
    while end < shortest - 1 - start and len({path[-1 - end] for path in paths}) == 1:
        end += 1
    branches: dict[tuple[str, bool], list[Path]] = {}
    for path in paths:
        inner = path[start : len(path) - end]
        branches.setdefault((inner[0], len(inner) > 1), []).append(inner)  # one may be the beginning of another
    middle = ",".join([braced(found) for found in branches.values()])
    return ".".join([*paths[0][:start], f"{{{middle}}}", *paths[0][len(paths[0]) - end :]])


def is_accepted(pattern: str) -> bool:
    """Say whether a glob is within the limits on its length and on its alternatives."""
    try:
        return len(pattern) <= MAX_LENGTH and bool(expanded(pattern))
    except ValueError:
        return False
