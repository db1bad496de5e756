"""Keywords: pieces of names, as published builders match."""

from __future__ import annotations

from collections.abc import Iterable


def first_keywords(names: Iterable[str], keywords: Iterable[str]) -> list[str | None]:
    """Return for each name the first keyword that is a piece of it, as :func:`keyword_in` does.

    It is fast for names in model order: a name that begins like the one before, up to the end of the keyword that was
    found there, has the same one, unless another keyword may reach into the rest of it; and rests are few.

    >>> names = ("blocks.1.norm.bias", "blocks.1.mlp.bias", "blocks.10.norm.bias", "head.bias")
    >>> first_keywords(names, ["blocks.10.", "blocks.1", "norm"])
    ['blocks.1', 'blocks.1', 'blocks.10.', None]
    """
    ordered = list(dict.fromkeys(keywords))
    beginnings, letters = _beginnings(ordered), {keyword[:1] for keyword in ordered}
    inside: dict[str, bool] = {}
    found: list[str | None] = []
    keyword: str | None = None
    head: str | tuple[()] = ()  # which nothing begins with
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
            if beginnings.isdisjoint(within):  # else a keyword of the next name may begin in this head
                head = name[:cut]
    return found


def _beginnings(keywords: Iterable[str]) -> set[str]:
    """Return all that keywords begin with, but for themselves."""
    found: set[str] = set()
    for keyword in keywords:
        for length in range(len(keyword) - 1, 0, -1):
            if keyword[:length] in found:
                break  # and so are the shorter ones
            found.add(keyword[:length])
    return found


def keyword_in(name: str, keywords: Iterable[str]) -> str | None:
    """Return the first keyword that is a piece of the name, as published builders match.

    >>> keyword_in("levels.0.dcn.offset.weight", ("mask", "offset"))
    'offset'
    """
    return next(filter(name.__contains__, keywords), None)
