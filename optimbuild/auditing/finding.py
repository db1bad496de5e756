"""A finding: what is wrong with a plan, or with the optimizer that it was read from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from optimbuild.errors import UnknownNameError
from optimbuild.messages import listing, shown, suggest

T = TypeVar("T")

PAGE = "audit.md"
"""The page of the docs that has a section for each finding, under its id."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with an optimizer, or at least should be known.

    Args:
        id: Which kind of thing, such as ``decay-on-norm``; stable, so that it can be ignored by name.
        message: What was found, and what would be right.
        params: The parameters that it is about, in model order; empty where it is about groups.

    >>> print(Finding("frozen-in-group", "frozen, and in a group of the optimizer", ("stem.weight", "stem.bias")))
    frozen-in-group: frozen, and in a group of the optimizer: stem.weight, stem.bias
    """

    id: str
    message: str
    params: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The page and section of the docs that explain it."""
        return f"{PAGE}#{self.id}"

    def __str__(self) -> str:
        return f"{self.id}: {self.text}"

    @property
    def text(self) -> str:
        """The message, with the parameters."""
        return f"{self.message}: {listing(self.params, 5)}" if self.params else self.message

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {"id": self.id, "message": self.message, "params": list(self.params), "page": self.page}


Answer = tuple[str, Sequence[str]]
"""A message, and the names that it is about."""


def registering(findings: dict[str, T]) -> Callable[[str], Callable[[T], T]]:
    """Return the decorator that registers a function which finds something.

    It takes the id of what is found, in words with hyphens; ``docs/audit.md`` has a section under it.

    Args:
        findings: The functions by id, in the order of a report.
    """

    def finding(id_: str) -> Callable[[T], T]:
        def register(find: T) -> T:
            findings[id_] = find
            return find

        return register

    return finding


def refuse_unknown(ids: Iterable[str], known: Collection[str]) -> None:
    """Raise an UnknownNameError for an id under which nothing is ever found.

    Args:
        ids: The ids of findings to leave out.
        known: All that there are.
    """
    for id_ in ids:
        if id_ not in known:
            raise UnknownNameError(
                f"there is no finding {shown(id_)}.{suggest(id_, known)} There are: {', '.join(known)}."
            )
