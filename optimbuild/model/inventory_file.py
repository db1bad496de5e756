"""The rows of an inventory file: parameters as JSON, and what is wrong with a row that is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optimbuild.errors import ConfigError, ModelError
from optimbuild.messages import shown
from optimbuild.model.foreign_classes import IMPLICIT, by_name
from optimbuild.model.kinds import KINDS, kinds_among
from optimbuild.model.names import is_readable
from optimbuild.model.param_info import NOTHING, ParamInfo
from optimbuild.values import plain


def param_to_dict(param: ParamInfo) -> dict[str, Any]:
    """Return a parameter as JSON data."""
    return {
        "name": param.name,
        "shape": list(param.shape),
        "dtype": param.dtype,
        "owner": param.owner,
        "bases": list(param.bases),
        "kinds": sorted(param.kinds),
        "trainable": param.trainable,
        "aliases": list(param.aliases),
        **({"marks": dict(param.marks)} if param.marks else {}),
        **({"evidence": dict(param.evidence)} if param.evidence else {}),
        **({"container": param.container} if param.container else {}),
    }


def param_from_dict(row: Mapping[str, Any], shapes: Mapping[str, Any]) -> ParamInfo:
    """Return the parameter that :func:`param_to_dict` wrote.

    Args:
        row: The row; ``dtype``, ``kinds``, ``aliases`` and so on may be missing.
        shapes: The shapes of all parameters by name, from which kinds are found where the row has none.
    """
    name, owner, bases = row["name"], row.get("owner", ""), tuple(row.get("bases", ()))
    container = row.get("container", "")
    if owner in IMPLICIT and not bases:  # a file of another tool, or of a release before 0.2
        bases = (by_name(owner),)
    kinds, evidence = row.get("kinds"), row.get("evidence", {})
    if kinds is None:
        kinds, evidence = kinds_among(name, owner, bases, shapes, container)
    return ParamInfo(
        name,
        tuple(row["shape"]),
        row.get("dtype", "float32"),
        owner,
        bases,
        frozenset(kinds),
        row.get("trainable", True),
        tuple(row.get("aliases", ())),
        plain(row["marks"]) if row.get("marks") else NOTHING,
        dict(evidence) or NOTHING,
        container,
    )


def refuse_wrong_row(row: Any, position: int) -> None:
    """Raise a ModelError for a row of an inventory file that is no parameter."""
    if not isinstance(row, dict):
        raise ModelError(f"params[{position}] must be an object, not {shown(row)}")
    for key, (form, fits) in _FORMS.items():
        if (key in row or key in ("name", "shape")) and not fits(row.get(key)):
            raise ModelError(f"params[{position}].{key} must be {form}, not {shown(row.get(key))}")


def are_names(texts: Any) -> bool:
    """Say whether data is a list of names."""
    return isinstance(texts, list) and all(map(is_readable, texts))


def _are_marks(marks: Any) -> bool:
    try:
        return isinstance(marks, dict) and all(map(is_readable, marks)) and plain(marks) is not None
    except ConfigError:
        return False


_FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name", lambda found: isinstance(found, str) and found != ""),
    "shape": (
        "a list of whole numbers",
        lambda found: isinstance(found, list) and all(type(size) is int and 0 <= size < 2**63 for size in found),
    ),
    "dtype": ("a name, such as float32", is_readable),
    "owner": ("the name of a class", is_readable),
    "bases": ("a list of names of classes", are_names),
    "kinds": (
        f"a list of any of {', '.join(KINDS)}",
        lambda found: isinstance(found, list) and all(kind in KINDS for kind in found),
    ),
    "trainable": ("true or false", lambda found: isinstance(found, bool)),
    "aliases": ("a list of names", are_names),
    "marks": ("an object of names and plain data", _are_marks),
    "container": ("a name", is_readable),
    "evidence": (
        "an object of kinds and what speaks for them",
        lambda found: isinstance(found, dict) and set(found) <= set(KINDS) and are_names(list(found.values())),
    ),
}
"""What a row of an inventory file holds; everything but name and shape may be missing."""
