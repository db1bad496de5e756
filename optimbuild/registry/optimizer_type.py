"""An optimizer as a config names it: the class, its options, and which of them are fixed."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import pydantic

from optimbuild.errors import ConfigError, MissingPackageError, RegistrationError
from optimbuild.messages import shown, suggest
from optimbuild.values import NonNegative, Number, Whole, fields, finite, join, plain, validated

Implementation = Literal["fused", "foreach", "for-loop"]
KERNELS: tuple[Implementation, ...] = ("fused", "foreach")


_SCALARS = frozenset((bool, int, float, str))


class Options(pydantic.BaseModel):
    """The options of an optimizer: types and defaults. Unknown keys are forbidden."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class State:
    """What an optimizer keeps for a parameter.

    Args:
        copies: How many tensors of the parameter's shape and dtype.
        scalars: How many single float32 numbers, such as a step count.
    """

    copies: int
    scalars: int = 0


@dataclass(frozen=True)
class OptimizerType:
    """A registered optimizer. Calling it builds the optimizer, as MMEngine's registries expect.

    Args:
        name: The name that a config says.
        target: ``package.module:Class``, or the class itself.
        defaults: Options that differ from the class's own defaults.
        fixed: Options that a config may not change.
        schema: A pydantic model of the options; without it they are read from the class's signature.
        kernels: Which of ``fused`` and ``foreach`` the class has; None reads the signature.
        state: What it keeps for a parameter under given options; None takes a step on the meta device to see.
        where: Module, file and line of the registration.
    """

    name: str
    target: str | type
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    schema: type[pydantic.BaseModel] | None = None
    kernels: tuple[str, ...] | None = None
    state: Callable[[Mapping[str, Any]], State] | None = field(default=None, compare=False)
    where: tuple[str, str, int] = field(default=("", "", 0), compare=False)

    @classmethod
    def of_class(cls, name: str, target: Any) -> OptimizerType:
        """Describe a class that was registered plainly, or in MMEngine's registry."""
        try:
            file, line = inspect.getsourcefile(target) or "", inspect.getsourcelines(target)[1]
        except (TypeError, OSError):
            file, line = "", 0
        return cls(name, target, where=(getattr(target, "__module__", ""), file, line))

    def __call__(self, params: Any, **options: Any) -> Any:
        """Build the torch optimizer, with this type's defaults and fixed options."""
        return self.load()(params, **{**self.defaults, **options, **self.fixed})

    def load(self) -> type:
        """Import the class.

        Raises:
            MissingPackageError: Its package is not installed; says what to install.
            RegistrationError: The module has no such class.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, name = self.target.partition(":")
        try:
            return cast(type, getattr(importlib.import_module(module), name))
        except ImportError as error:
            package = (error.name or module).partition(".")[0]
            raise MissingPackageError(
                f"optimizer {self.name!r} is {self.target}, which cannot be imported: {error}. "
                f"Install it: pip install {package.replace('_', '-')}"
            ) from error
        except AttributeError:
            raise RegistrationError(f"optimizer {self.name!r}: module {module} has no {name!r}") from None

    @cached_property
    def options(self) -> type[pydantic.BaseModel]:
        """The options that a config may give, their types and defaults."""
        return self.schema or _options_of(self.name, self.load())

    @cached_property
    def implementations(self) -> tuple[Implementation, ...]:
        """What the class can run as, fastest first."""
        known = _parameters(self.load()) if self.kernels is None else self.kernels
        return (*(kernel for kernel in KERNELS if kernel in known), "for-loop")

    @cached_property
    def fuses_shards(self) -> bool:
        """Whether its fused kernel takes a ``DTensor``, as FSDP2 makes them: torch knows how for Adam and AdamW."""
        return self._is_torch("Adam", "AdamW")

    @cached_property
    def is_sgd(self) -> bool:
        """Whether it is torch's SGD."""
        return self._is_torch("SGD")

    def _is_torch(self, *names: str) -> bool:
        if isinstance(self.target, str):
            module, _, name = self.target.partition(":")
            return f"{module}.".startswith("torch.optim.") and name in names
        return self.target.__module__.startswith("torch.optim") and self.target.__name__ in names

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all options, those that choose an implementation included."""
        return frozenset(fields(self.options)) | frozenset(self.implementations) - {"for-loop"}

    @property
    def open(self) -> bool:
        """Whether the class takes any option."""
        return self.options.model_config.get("extra") == "allow"

    def complete(self, given: Mapping[str, Any], path: str = "optimizer") -> dict[str, Any]:
        """Return every option: what was given, checked and coerced, then the defaults, and the fixed ones.

        Args:
            given: Options from a config.
            path: Where they stand in it.

        Raises:
            ConfigError: An unknown option, a wrong value, or a fixed option that was given another value.
        """
        self.refuse_unknown(given, path)
        kernels = {key: _switch(given[key], join(path, key)) for key in KERNELS if key in given}
        asked = {**self.defaults, **{key: value for key, value in given.items() if key not in KERNELS}, **self.fixed}
        model = validated(self.options, asked, path)
        complete: dict[str, Any] = plain(model.model_dump(), path)
        for key, value in self.fixed.items():
            if key in given and validated(self.options, {**asked, key: given[key]}, path).model_dump()[key] != value:
                raise ConfigError(
                    f"{self.name} fixes {key} to {value!r}; {shown(given[key])} was asked for. "
                    "Leave it out, or choose another optimizer.",
                    join(path, key),
                )
        return complete | kernels

    def changed(self, options: Mapping[str, Any], update: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Return complete options after some of them were changed, checked and coerced as :meth:`complete` does.

        What can be checked by itself is not checked together with all others: that takes a tenth of the time, and a
        large model with layer decay asks for hundreds of changes.

        Args:
            options: What :meth:`complete` returned.
            update: What is different now.
            path: Where the change stands in a config.

        Raises:
            ConfigError: As :meth:`complete`.
        """
        changed = dict(options)
        try:
            for key, value in update.items():
                check = self._checks.get(key)
                if check is None or type(value) not in _SCALARS:
                    return self.complete({**options, **update}, path)
                changed[key] = check(value)
        except pydantic.ValidationError:
            return self.complete({**options, **update}, path)  # which finds the words
        return changed

    def scaled(self, options: Mapping[str, Any], factors: Mapping[str, float]) -> dict[str, Any] | None:
        """Return complete options after some were multiplied; None where that takes more than to multiply and check.

        Args:
            options: What :meth:`complete` returned.
            factors: By option.
        """
        changed = dict(options)
        try:
            for key, factor in factors.items():
                value, check = changed.get(key), self._checks.get(key)
                if check is None or type(value) is not float or not finite(factor) or type(factor) is not float:
                    return None
                changed[key] = check(value * factor)
        except pydantic.ValidationError:
            return None
        return changed

    @cached_property
    def _checks(self) -> dict[str, Callable[[Any], Any]]:
        """By option, what checks it; none where more than its own type counts."""
        special = self.options.__pydantic_decorators__
        if any(getattr(special, kind.name) for kind in dataclasses.fields(special)):
            return {}
        return {
            name: pydantic.TypeAdapter(field.rebuild_annotation()).validator.validate_python
            for name, field in self.options.model_fields.items()
            if name not in self.fixed and field.alias is None and field.validation_alias is None
        }

    def refuse_unknown(self, given: Collection[str], path: str) -> None:
        """Raise a ConfigError for the first option that the optimizer does not take."""
        if self.known.issuperset(given):
            return
        for key in given:
            if key not in self.known and not (self.open and key.isidentifier()):
                raise ConfigError(
                    f"{self.name} takes no option {shown(key)}.{suggest(key, self.known)} "
                    f"It takes: {', '.join(sorted(self.known))}.",
                    path,
                )


def _switch(value: object, path: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"must be true, false or null, not {shown(value)}", path)
    return value


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(cls).parameters)
    except (TypeError, ValueError):
        raise RegistrationError(f"the signature of {shown(cls)} cannot be read; register it with `options=`") from None


def _options_of(name: str, cls: type) -> type[pydantic.BaseModel]:
    """Make a pydantic model from the signature of an optimizer class: types from its defaults."""
    parameters = list(_parameters(cls).values())[1:]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in KERNELS]
    made: dict[str, Any] = {p.name: _field(p) for p in named if not p.name.startswith("_")}
    return pydantic.create_model(
        f"Options of {name}",
        __config__=pydantic.ConfigDict(extra="allow" if takes_any else "forbid", protected_namespaces=()),
        **made,
    )


def _field(parameter: inspect.Parameter) -> tuple[Any, Any]:
    default = parameter.default
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
    return kind, ... if required else default
