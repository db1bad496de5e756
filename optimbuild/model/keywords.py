"""Keywords: parts of names, matched as published builders match them."""

from __future__ import annotations

from collections.abc import Iterable


def first_keywords(names: Iterable[str], keywords: Iterable[str]) -> list[str | None]:
    """Return for each name the first keyword that is part of it, as :func:`keyword_in` does.

    It is fast for names in model order. If a name has the same beginning as the one before, up to the end of that
    one's keyword, it has the same keyword, unless a keyword is in the rest of the name. There are few distinct rests.

    >>> names = ("blocks.1.norm.bias", "blocks.1.mlp.bias", "blocks.10.norm.bias", "head.bias")
    >>> first_keywords(names, ["blocks.10.", "blocks.1", "norm"])
    ['blocks.1', 'blocks.1', 'blocks.10.', None]
    """
    ordered = list(dict.fromkeys(keywords))
    beginnings, letters = _beginnings(ordered), {keyword[:1] for keyword in ordered}
    inside: dict[str, bool] = {}
    found: list[str | None] = []
    keyword: str | None = None
    head: str | tuple[()] = ()  # no name begins with it
    cut = 0
    for name in names:
        if name.startswith(head):
            rest = name[cut:]
            holds = inside.get(rest)
            if holds is None:
                holds = inside[rest] = keyword_in(rest, ordered) is not None
            if not holds:
                found.append(keyword)
                continue
        keyword, head = keyword_in(name, ordered), ()
        found.append(keyword)
        if keyword is not None:
            cut = name.index(keyword) + len(keyword)
            within = [name[at:cut] for at, letter in enumerate(name[:cut]) if letter in letters]
            if beginnings.isdisjoint(within):  # or a keyword of the next name might begin in this head
                head = name[:cut]
    return found


def _beginnings(keywords: Iterable[str]) -> set[str]:
    """Return all proper prefixes of the keywords."""
    found: set[str] = set()
    for keyword in keywords:
        for length in range(len(keyword) - 1, 0, -1):
            if keyword[:length] in found:
                break  # its shorter prefixes are in it too
            found.add(keyword[:length])
    return found


def keyword_in(name: str, keywords: Iterable[str]) -> str | None:
    """Return the first keyword that is part of the name, as published builders match.

    >>> keyword_in("levels.0.dcn.offset.weight", ("mask", "offset"))
    'offset'
    """
    return next(filter(name.__contains__, keywords), None)
