"""Inventory files: a model's parameters and hints as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optimbuild.errors import ModelError
from optimbuild.messages import shown
from optimbuild.model.kinds import KINDS, kinds_of
from optimbuild.model.names import _MARKUP, LONGEST
from optimbuild.model.param_info import ParamInfo


def _names_in(data: Mapping[str, Any], key: str) -> frozenset[str]:
    names = data.get(key) or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ModelError(f"`{key}` must be a list of names, not {shown(names)}")
    return frozenset(names)


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
    }


def param_from_dict(row: Mapping[str, Any], shapes: Mapping[str, Any]) -> ParamInfo:
    """Return the parameter that :func:`param_to_dict` wrote; ``shapes`` are those of the model, by name."""
    name, owner, bases, kinds = row["name"], row.get("owner", ""), tuple(row.get("bases", ())), row.get("kinds")
    if kinds is None:
        module, dot, _ = name.rpartition(".")
        known = kinds_of(name, owner, bases, shapes.get(f"{module}{dot}weight"))
    else:
        known = frozenset(kinds)
    return ParamInfo(
        name,
        tuple(row["shape"]),
        row.get("dtype", "float32"),
        owner,
        bases,
        known,
        row.get("trainable", True),
        tuple(row.get("aliases", ())),
    )


def _refuse_row(row: Any, position: int) -> None:
    """Raise a ModelError for a row of an inventory file that is no parameter."""
    if not isinstance(row, dict):
        raise ModelError(f"params[{position}] must be an object, not {shown(row)}")
    for key, (form, fits) in _FORMS.items():
        if (key in row or key in ("name", "shape")) and not fits(row.get(key)):
            raise ModelError(f"params[{position}].{key} must be {form}, not {shown(row.get(key))}")


def _is_readable(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST and text.isprintable() and not _MARKUP.search(text)


def _are_readable(texts: Any) -> bool:
    return isinstance(texts, list) and all(map(_is_readable, texts))


_FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a name", lambda found: isinstance(found, str) and found != ""),
    "shape": (
        "a list of whole numbers",
        lambda found: isinstance(found, list) and all(type(size) is int and 0 <= size < 2**63 for size in found),
    ),
    "dtype": ("a name, such as float32", _is_readable),
    "owner": ("the name of a class", _is_readable),
    "bases": ("a list of names of classes", _are_readable),
    "kinds": (
        f"a list of any of {', '.join(KINDS)}",
        lambda found: isinstance(found, list) and all(kind in KINDS for kind in found),
    ),
    "trainable": ("true or false", lambda found: isinstance(found, bool)),
    "aliases": ("a list of names", _are_readable),
}
"""What a row of an inventory file holds; everything but name and shape may be missing."""
