"""A name in the registries, whatever it names, and all names for the completion of a shell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from optimbuild.errors import AmbiguousNameError, UnknownNameError
from optimbuild.messages import shown, suggest
from optimbuild.registry import CONSTRUCTORS, OPTIMIZERS, RULES, load_plugins
from optimbuild.registry.packages import PACKAGES
from optimbuild.registry.unimported import names_from_torch
from optimbuild.report.constructor_text import constructor_lines, constructors_lines
from optimbuild.report.registry_text import MMENGINE, entry_lines, list_lines
from optimbuild.report.table import Line

CONSTRUCTOR_KIND = "constructors"


def lines_of_kinds(kinds: Sequence[str]) -> list[Line]:
    """Return the lines of a list of everything of some kinds: ``rules``, ``optimizers`` or ``constructors``."""
    registered = [kind for kind in kinds if kind != CONSTRUCTOR_KIND]
    blocks = [list_lines(registered)] if registered else []
    return _blocks([*blocks, *[constructors_lines()] * (CONSTRUCTOR_KIND in kinds)])


def lines_of_entry(kind: str, name: str) -> list[Line]:
    """Return the lines about one entry of a kind.

    Raises:
        UnknownNameError: Nothing of this kind has the name; lists close names.
    """
    return constructor_lines(name) if kind == CONSTRUCTOR_KIND else entry_lines(kind, name)


def names_of(kind: str) -> list[str]:
    """Return the names of a kind, those of plugins included, for which nothing else must be imported.

    Of optimizers these are ours, those of torch, and the names of packages that have more.

    >>> "no_decay" in names_of("rules"), {"adamw", "RMSprop", "timm"} <= set(names_of("optimizers"))
    (True, True)
    """
    load_plugins()
    return NAMES[kind]()


def _names_of_optimizers() -> list[str]:
    return [*OPTIMIZERS.names(), *names_from_torch(), MMENGINE, *PACKAGES]


NAMES: Mapping[str, Callable[[], list[str]]] = {
    "rules": RULES.names,
    "optimizers": _names_of_optimizers,
    CONSTRUCTOR_KIND: CONSTRUCTORS.names,
}
"""By kind what returns its names."""


def lines_of_name(name: str, kinds: Sequence[str]) -> list[Line]:
    """Return the lines about everything that has a name: a rule, an optimizer or a constructor.

    Args:
        name: The name.
        kinds: The kinds to look in, such as ``rules``. Once it is found, only names that :func:`names_of` knows count
            in the others.

    Raises:
        UnknownNameError: Nothing has this name; lists close names.
    """
    found: dict[str, list[Line]] = {}
    for kind in kinds:
        if found and name.lower() not in map(str.lower, names_of(kind)):
            continue
        try:
            found[kind] = lines_of_entry(kind, name)
        except AmbiguousNameError:
            raise
        except UnknownNameError:
            continue
    if not found:
        known = [*kinds, *(known for kind in kinds for known in names_of(kind))]
        raise UnknownNameError(
            f"nothing that can be listed has the name {shown(name)}.{suggest(name, known)} "
            "`optimbuild list` shows all that can."
        )
    if len(found) == 1:
        return next(iter(found.values()))
    return _blocks([[(kind, "bold"), *lines] for kind, lines in found.items()])


def _blocks(blocks: Sequence[list[Line]]) -> list[Line]:
    return [line for i, block in enumerate(blocks) for line in [("", "")] * bool(i) + block]
