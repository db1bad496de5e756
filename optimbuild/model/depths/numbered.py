"""Names cut at their numbers: ``blocks.7.mlp`` is the rest ``mlp`` of number 7 in the container ``blocks``."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache

_NUMBER = re.compile(r"(?<![^.])()(\d+)(?![^.])")
_NUMBERED = re.compile(r"(?<![^.])([^.]*?[A-Za-z_])??(\d+)(?![^.])")
Numbered = tuple[str, int, str]
"""A name cut at a number: the container, the number, and the name's rest.

Containers of ``layer7`` are written ``layer#``, those of ``layer.7`` ``layer``. Plain tuples, because the garbage
collector does not look again at those that hold only names and numbers.
"""


def parent_of(container: str) -> str:
    """Return what is above a container."""
    return container.rpartition(".")[0]


def cut_at_number(name: str, digits_at_end: bool) -> Numbered | None:
    """Cut a name at its first numbered segment: ``7`` itself, or else ``layer7``."""
    found = (_NUMBERED if digits_at_end else _NUMBER).search(name)
    if found is None:
        return None
    start, end = found.span()
    word, number = found.groups()
    container = f"{name[:start]}{word}#" if word else name[: max(start - 1, 0)]
    return sys.intern(container), int(number), name[end + 1 :]


@lru_cache(maxsize=1 << 16)
def cut_rest(rest: str) -> Numbered | None:
    """Cut what follows a number; the same rests follow the numbers of many blocks."""
    return cut_at_number(rest, True)


def indices_of(cuts: Iterable[Numbered | None]) -> Mapping[str, set[int]]:
    """Return the numbers in each container."""
    indices: dict[str, set[int]] = defaultdict(set)
    for container, number, _ in filter(None, cuts):
        indices[container].add(number)
    return indices
