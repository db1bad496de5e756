"""The options of an optimizer class, read from its signature."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from typing import Any, get_args

import pydantic

from optimbuild.errors import ConfigError, RegistrationError
from optimbuild.messages import shown
from optimbuild.values import NonNegative, Number, Whole, plain


def parameters_of(cls: type) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class's constructor, by name.

    Raises:
        RegistrationError: Python cannot tell its signature.
    """
    try:
        return dict(inspect.signature(cls).parameters)
    except (TypeError, ValueError):
        raise RegistrationError(f"the signature of {shown(cls)} cannot be read; register it with `options=`") from None


def options_of(name: str, cls: type, leave_out: Collection[str] = ()) -> type[pydantic.BaseModel]:
    """Return a pydantic model of the options that a class takes, with types that follow from its defaults.

    Args:
        name: The optimizer's registered name.
        cls: The class. Its first parameter, the parameters to optimize, is no option.
        leave_out: Names that are no options.

    Raises:
        RegistrationError: Python cannot tell the signature.

    >>> class Lion:
    ...     def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0): ...
    >>> list(options_of("lion", Lion).model_fields)
    ['lr', 'betas', 'weight_decay']
    """
    parameters = list(parameters_of(cls).values())[1:]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in leave_out]
    types: dict[str, Any] = {p.name: _type_and_default(p) for p in named if not p.name.startswith("_")}
    return pydantic.create_model(
        f"Options of {name}",
        __config__=pydantic.ConfigDict(extra="allow" if takes_any else "forbid", protected_namespaces=()),
        **types,
    )


def plain_default(parameter: inspect.Parameter) -> Any:
    """Return the default of a parameter; None where a config cannot say it, such as a dtype, a function or infinity.

    >>> plain_default(inspect.Parameter("growth_rate", inspect.Parameter.KEYWORD_ONLY, default=float("inf")))
    """
    default = parameter.default
    if default is parameter.empty or type(default).__name__ == "_RequiredParameter":
        return default
    try:
        plain(default)
    except ConfigError:
        return None
    return default


def _type_and_default(parameter: inspect.Parameter) -> tuple[Any, Any]:
    """Return the type of an option and its default, as :func:`pydantic.create_model` takes them."""
    default = plain_default(parameter)
    required = default is parameter.empty or type(default).__name__ == "_RequiredParameter"
    if parameter.name in ("lr", "weight_decay"):
        kind: Any = NonNegative if required or isinstance(default, (int, float)) else NonNegative | None
    elif isinstance(default, bool):
        kind = bool
    elif isinstance(default, float):
        kind = Number
    elif isinstance(default, int):
        kind = Whole | Number
    elif isinstance(default, tuple) and default and all(isinstance(n, float) for n in default):
        kind = tuple[(Number,) * len(default)]  # type: ignore[misc]
    else:
        kind = Any
    return kind | None if _admits_none(parameter.annotation) else kind, ... if required else default


def _admits_none(annotation: Any) -> bool:
    """Say whether a type admits None; it may be a text, which is not evaluated."""
    if isinstance(annotation, str):
        return re.search(r"\b(None|Optional)\b", annotation) is not None
    return type(None) in get_args(annotation)
