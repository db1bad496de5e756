"""A class made a rule: its fields become options, and the mistakes of its author are found."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import pydantic

from optimbuild.errors import RegistrationError
from optimbuild.messages import shown

PLAIN = (bool, int, float, str, tuple, list, dict, set, type(None))
"""The types of values that a class may have for an option without a type."""


def rule_class(name: str, cls: Any) -> Any:
    """Return a class as a frozen pydantic dataclass; a class that is one already is returned as it is.

    Args:
        name: The rule's name, for messages.
        cls: The class.

    Raises:
        RegistrationError: It is no rule, or one of its fields is no option; the message says what to write.
    """
    if not inspect.isclass(cls) or not {"__call__", "bind"} & set(dir(cls)):
        raise RegistrationError(f"rule {name!r}: {shown(cls)} must be a class with __call__(param) or bind(inventory)")
    if "__pydantic_fields__" in vars(cls):  # the same class again, perhaps under another name
        return cls
    _refuse_untyped(name, cls)
    config = pydantic.ConfigDict(extra="forbid", use_attribute_docstrings=True)
    try:
        made = pydantic.dataclasses.dataclass(frozen=True, config=config)(cls)
        pydantic.TypeAdapter(made).json_schema()
    except pydantic.errors.PydanticUserError as error:
        raise _wrong_type(name, cls, error) from error
    except (TypeError, ValueError, NameError) as error:  # of the standard library's dataclass
        raise RegistrationError(f"rule {name!r}: {cls.__qualname__}: {error}") from error
    return made


def _refuse_untyped(name: str, cls: type) -> None:
    """Refuse a class with a lowercase attribute that looks like an option but has no type, and so is none."""
    typed = inspect.get_annotations(cls)
    for attribute, value in vars(cls).items():
        if attribute in typed or attribute.startswith("_") or attribute.isupper() or not isinstance(value, PLAIN):
            continue
        kind = "float | None" if value is None else type(value).__name__
        raise RegistrationError(
            f"rule {name!r}: `{attribute} = {shown(value)}` in {cls.__qualname__} has no type, so it is no option. "
            f"Write `{attribute}: {kind} = {shown(value)}`, or `{attribute}: ClassVar = {shown(value)}` for a constant."
        )


def _wrong_type(name: str, cls: type, error: Exception) -> RegistrationError:
    """Return the error about the first field whose type cannot be that of an option."""
    for field, kind in inspect.get_annotations(cls).items():
        try:
            resolved = typing.get_type_hints(_only(cls, field, kind), include_extras=True)[field]
        except NameError as unknown:
            return RegistrationError(f"rule {name!r}: the type of `{field}` is not known where it is used: {unknown}")
        try:
            pydantic.TypeAdapter(resolved).json_schema()
        except pydantic.errors.PydanticUserError:
            return RegistrationError(
                f"rule {name!r}: `{field}: {_type_text(kind)}` cannot be an option, because a config holds plain data. "
                "Give it a type such as float, str, bool, tuple[str, ...] or one of optimbuild.values; "
                "or write ClassVar, if it is no option."
            )
    return RegistrationError(f"rule {name!r}: {shown(str(error), 300)}")


def _only(cls: type, field: str, kind: Any) -> type:
    """Return a class of the same module with only one annotation."""
    return type(cls.__name__, (), {"__annotations__": {field: kind}, "__module__": cls.__module__})


def _type_text(kind: Any) -> str:
    return kind if isinstance(kind, str) else getattr(kind, "__name__", None) or shown(kind)
