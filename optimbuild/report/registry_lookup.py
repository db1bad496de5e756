"""A name in the registries, whatever it names, and all names for the completion of a shell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from optimbuild.errors import AmbiguousNameError, UnknownNameError
from optimbuild.messages import shown, suggest
from optimbuild.registry import OPTIMIZERS, RULES, load_plugins
from optimbuild.registry.packages import PACKAGES
from optimbuild.registry.unimported import names_from_torch
from optimbuild.report.registry_text import MMENGINE, entry_lines
from optimbuild.report.table import Line


def names_of(kind: str) -> list[str]:
    """Return the names of rules or optimizers, those of plugins included, for which nothing else must be imported.

    Of optimizers these are ours, those of torch, and the names of packages that have more.

    >>> "no_decay" in names_of("rules"), {"adamw", "RMSprop", "timm"} <= set(names_of("optimizers"))
    (True, True)
    """
    load_plugins()
    return NAMES[kind]()


def _names_of_optimizers() -> list[str]:
    return [*OPTIMIZERS.names(), *names_from_torch(), MMENGINE, *PACKAGES]


NAMES: Mapping[str, Callable[[], list[str]]] = {"rules": RULES.names, "optimizers": _names_of_optimizers}
"""By kind what returns its names."""


def lines_of_name(name: str, kinds: Sequence[str]) -> list[Line]:
    """Return the lines about everything that has a name: a rule, an optimizer, or both.

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
            found[kind] = entry_lines(kind, name)
        except AmbiguousNameError:
            raise
        except UnknownNameError:
            continue
    if not found:
        known = [*kinds, *(known for kind in kinds for known in names_of(kind))]
        raise UnknownNameError(
            f"nothing that can be listed has the name {shown(name)}.{suggest(name, known)} "
            "`optimbuild list` shows all rules and optimizers."
        )
    if len(found) == 1:
        return next(iter(found.values()))
    blocks = [[(kind, "bold"), *lines] for kind, lines in found.items()]
    return [line for i, block in enumerate(blocks) for line in [("", "")] * bool(i) + block]
