"""The decorators by which rules and optimizers get into their registries."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, TypeVar, dataclass_transform, overload

import pydantic

from optimbuild.errors import RegistrationError
from optimbuild.messages import shown
from optimbuild.registry.constructor_type import ConstructorType
from optimbuild.registry.optimizer_type import KERNELS, OptimizerType, State
from optimbuild.registry.registries import CONSTRUCTORS, OPTIMIZERS, RULES
from optimbuild.registry.rule_class import rule_class

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def rule(name: str, *, force: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen pydantic dataclass, and register it as a rule.

    Its fields are its options, its ``__call__(param)`` returns an :class:`~optimbuild.Edit` or None.
    A rule that must see the whole model first has ``bind(inventory)``, which returns that callable.

    Args:
        name: The name that a config says.
        force: Replace a rule of the same name.

    Raises:
        RegistrationError: The name is taken (names both owners), or the class is no rule.

    >>> from optimbuild import Edit, ParamInfo, rule
    >>> @rule("slow_embeddings")
    ... class SlowEmbeddings:
    ...     factor: float = 0.1
    ...
    ...     def __call__(self, param: ParamInfo) -> Edit | None:
    ...         return Edit(scale={"lr": self.factor}, why="embedding") if "embedding" in param.kinds else None
    >>> SlowEmbeddings(factor=0.5)
    SlowEmbeddings(factor=0.5)
    """
    _refuse_missing_name("rule", name)

    def register(cls: Any) -> Any:
        made = rule_class(name, cls)
        RULES.register_module(name=name, module=made, force=force)
        return made

    return register


def constructor(
    name: str, *, keys: type[pydantic.BaseModel] | None = None, force: bool = False
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Register a function as the reading of a constructor that runners' configs name.

    It gets what the constructor gets, as a :class:`~optimbuild.Published`, and returns the rules that give what the
    constructor gives, as a :class:`~optimbuild.Translation`. Configs that name the constructor are planned by it.

    Args:
        name: The constructor's name, without its scope.
        keys: A pydantic model of the keys that it reads, for ``optimbuild list`` and for hints.
        force: Replace a reading of the same name.

    Raises:
        RegistrationError: The name is taken (names both owners), or ``keys`` is no pydantic model.

    >>> from optimbuild import Published, Translation, constructor
    >>> @constructor("TwoSpeedsConstructor")
    ... def two_speeds(published: Published) -> Translation:
    ...     factor = published.paramwise_cfg["backbone_mult"]
    ...     return Translation([{"type": "match", "table": {"backbone": {"lr_mult": factor}}}])
    """
    _refuse_missing_name("constructor", name)
    declared: object = keys
    if declared is not None and not (inspect.isclass(declared) and issubclass(declared, pydantic.BaseModel)):
        raise RegistrationError(f"constructor {name!r}: `keys` is a pydantic model, not {shown(keys)}")

    def register(read: Callable[..., T]) -> Callable[..., T]:
        if not inspect.isfunction(read):
            raise RegistrationError(
                f"constructor {name!r}: {shown(read)} must be a function that returns a Translation"
            )
        CONSTRUCTORS.register_module(name=name, module=ConstructorType(read, keys), force=force)
        return read

    return register


def _refuse_missing_name(decorator: str, name: object) -> None:
    if inspect.isclass(name) or inspect.isfunction(name):
        raise RegistrationError(f'@{decorator} takes a name: write `@{decorator}("my_name")` above {name.__qualname__}')
    if not isinstance(name, str):
        raise RegistrationError(f"@{decorator} takes a name, which is a string, not {shown(name)}")


@overload
def optimizer(
    name: str,
    target: str | type,
    *,
    defaults: Mapping[str, Any] = ...,
    fixed: Mapping[str, Any] = ...,
    options: type[pydantic.BaseModel] | None = ...,
    implementations: Iterable[str] | None = ...,
    state: Callable[[Mapping[str, Any]], State] | None = ...,
    requires: str = ...,
    dimensions: int | None = ...,
    group_marks: Iterable[str] = ...,
    force: bool = ...,
) -> OptimizerType: ...


@overload
def optimizer(
    name: str,
    *,
    defaults: Mapping[str, Any] = ...,
    fixed: Mapping[str, Any] = ...,
    options: type[pydantic.BaseModel] | None = ...,
    implementations: Iterable[str] | None = ...,
    state: Callable[[Mapping[str, Any]], State] | None = ...,
    requires: str = ...,
    dimensions: int | None = ...,
    group_marks: Iterable[str] = ...,
    force: bool = ...,
) -> Callable[[type[T]], type[T]]: ...


def optimizer(
    name: str,
    target: str | type | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
    options: type[pydantic.BaseModel] | None = None,
    implementations: Iterable[str] | None = None,
    state: Callable[[Mapping[str, Any]], State] | None = None,
    requires: str = "",
    dimensions: int | None = None,
    group_marks: Iterable[str] = (),
    force: bool = False,
) -> Any:
    """Register an optimizer: as data, or as a decorator of its class.

    Args:
        name: The name in a config.
        target: ``package.module:Class``, which is imported when it is needed, or the class itself.
        defaults: Options that differ from the class's own defaults; a config may change them.
        fixed: Options that a config may not change; every plan shows them.
        options: A pydantic model of the options. Without it the class is imported and its signature is read.
        implementations: Which of ``fused`` and ``foreach`` the class has; read from the signature by default.
        state: Returns the state of one parameter under given options. Without it a step on the meta device shows it.
        requires: What to install where the class is missing, as pip names it. Without it the package that is missing.
        dimensions: The number of dimensions that a tensor must have, such as 2 for Muon; any by default.
        group_marks: Entries of a group that its ``step`` reads and its constructor does not take; rules may set them.
        force: Replace an optimizer of the same name.

    Returns:
        The registered :class:`~optimbuild.registry.optimizer_type.OptimizerType`; without a target, the decorator.

    Raises:
        RegistrationError: The name is taken; the message names both owners.

    >>> optimizer("adam_amsgrad", "torch.optim:Adam", defaults={"amsgrad": True}).name
    'adam_amsgrad'
    """
    _refuse_missing_name("optimizer", name)
    target_or_later = object if target is None else target
    given, always = _mapping(name, "defaults", defaults), _mapping(name, "fixed", fixed)
    kernels = _names(name, "implementations", implementations)
    marks, place = _names(name, "group_marks", group_marks) or (), _place(sys._getframe(1))
    made = OptimizerType(
        name, target_or_later, given, always, options, kernels, state, requires, marks, place, dimensions
    )
    return partial(_decorate, made, force) if target is None else _register(made, force)


def _mapping(name: str, argument: str, given: object) -> dict[str, Any]:
    """Return the options that an argument gives; none where it is left out.

    Raises:
        RegistrationError: It is no mapping.
    """
    if given is not None and not isinstance(given, Mapping):
        raise RegistrationError(
            f"optimizer {name!r}: `{argument}` is a mapping from options to values, such as {{'lr': 0.1}}, "
            f"not {shown(given)}"
        )
    return dict(given or {})


def _names(name: str, argument: str, given: object) -> tuple[str, ...] | None:
    """Return the names that an argument lists; None where it is left out.

    Raises:
        RegistrationError: It is a single string, of which a tuple would have the letters, or lists other things.
    """
    if given is None:
        return None
    names = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (None,)
    if not all(isinstance(each, str) for each in names):
        raise RegistrationError(f"optimizer {name!r}: `{argument}` is a tuple of names, not {shown(given)}")
    return names


def _decorate(made: OptimizerType, force: bool, cls: type[T]) -> type[T]:
    _register(replace(made, target=cls), force)
    return cls


def _place(frame: FrameType) -> tuple[str, str, int]:
    """Return module, file and line of a frame."""
    return str(frame.f_globals.get("__name__", "")), os.path.abspath(frame.f_code.co_filename), frame.f_lineno


def _register(made: OptimizerType, force: bool) -> OptimizerType:
    if isinstance(made.target, str) and not all(part.strip() for part in made.target.partition(":")):
        raise RegistrationError(
            f"optimizer {made.name!r}: the target is `package.module:Class`, not {shown(made.target)}"
        )
    target: object = made.target
    if inspect.isfunction(target):
        raise RegistrationError(
            f"optimizer {made.name!r}: a function that makes an optimizer is registered by its path: "
            f"optimizer({made.name!r}, '{target.__module__}:{target.__qualname__}')"
        )
    if not isinstance(target, (str, type)):
        raise RegistrationError(
            f"optimizer {made.name!r}: the target is `package.module:Class` or a class, not {shown(target)}"
        )
    _refuse_wrong_arguments(made)
    made.refuse_unknown_defaults()
    OPTIMIZERS.register_module(name=made.name, module=made, force=force)
    return made


def _refuse_wrong_arguments(made: OptimizerType) -> None:
    """Raise a RegistrationError for options, implementations or a state that are something else than they must be."""
    schema: object = made.schema
    if schema is not None and not (inspect.isclass(schema) and issubclass(schema, pydantic.BaseModel)):
        raise RegistrationError(
            f"optimizer {made.name!r}: `options` is a pydantic model, such as a subclass of "
            f"optimbuild.registry.optimizer_type.Options, not {shown(schema)}"
        )
    for kernel in made.kernels or ():
        if kernel not in KERNELS:
            raise RegistrationError(
                f"optimizer {made.name!r}: `implementations` is a tuple of {' and '.join(map(repr, KERNELS))}, or of "
                f"some of them; {shown(kernel)} is neither"
            )
    dimensions: object = made.dimensions
    if dimensions is not None and (type(dimensions) is not int or dimensions < 0):
        raise RegistrationError(
            f"optimizer {made.name!r}: `dimensions` is a whole number, such as 2, not {shown(dimensions)}"
        )
    if made.state is not None and not callable(made.state):
        raise RegistrationError(
            f"optimizer {made.name!r}: `state` is a function from options to a State, not {shown(made.state)}"
        )
