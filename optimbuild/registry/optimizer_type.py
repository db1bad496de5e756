"""A registered optimizer: its class, its options, and which of them are fixed."""

from __future__ import annotations

import importlib
import importlib.metadata
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import pydantic

from optimbuild.errors import ConfigError, MissingPackageError, RegistrationError
from optimbuild.messages import shown, suggest
from optimbuild.registry.class_signature import options_of, parameters_of, plain_default
from optimbuild.values import fields, join, plain, validated

Implementation = Literal["fused", "foreach", "for-loop"]
KERNELS: tuple[Implementation, ...] = ("fused", "foreach")
SCALARS = frozenset((bool, int, float, str))


class Options(pydantic.BaseModel):
    """The options of an optimizer: types and defaults. Unknown keys are forbidden.

    A class may declare as ``independent`` the options that none of its validators compares with another option.
    They are checked faster. A subclass does not inherit the declaration.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    independent: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class State:
    """The optimizer state of one parameter.

    Args:
        copies: The number of tensors of the parameter's shape and dtype.
        scalars: The number of single float32 values, such as a step count.
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
        kernels: Which of ``fused`` and ``foreach`` the class has; None reads them from the signature.
        state: Returns the state of one parameter under given options; None finds it by a step on the meta device.
        requires: What to install where the class is missing, as pip names it.
        group_marks: Entries of a group that the class does not take as options, and that its ``step`` reads there.
        where: Module, file and line of the registration; empty where a class was registered as it is.
        dimensions: The number of dimensions that a tensor must have; None where the class takes any, or where its
            options are read from its signature, so that it is asked.
    """

    name: str
    target: str | type
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    schema: type[pydantic.BaseModel] | None = None
    kernels: tuple[str, ...] | None = None
    state: Callable[[Mapping[str, Any]], State] | None = field(default=None, compare=False)
    requires: str = field(default="", compare=False)
    group_marks: tuple[str, ...] = ()
    where: tuple[str, str, int] = field(default=("", "", 0), compare=False)
    dimensions: int | None = None

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
            package = (error.name or module).partition(".")[0].replace("_", "-")
            raise MissingPackageError(
                f"optimizer {self.name!r} is {self.target}, which cannot be imported: {error}. "
                f"Install it: pip install {shlex.quote(self.requires or package)}"
            ) from error
        except AttributeError as error:
            if self.requires:
                raise MissingPackageError(
                    f"optimizer {self.name!r} is {self.target}, which the installed {module.partition('.')[0]} does "
                    f"not have. Install a newer one: pip install {shlex.quote(self.requires)}"
                ) from error
            raise RegistrationError(f"optimizer {self.name!r}: module {module} has no {name!r}") from None

    @cached_property
    def options(self) -> type[pydantic.BaseModel]:
        """The options that a config may give, their types and defaults."""
        return self.schema or options_of(self.name, self.load(), self.implementations)

    @cached_property
    def implementations(self) -> tuple[Implementation, ...]:
        """The implementations of the class, fastest first, without those that the class switches off by default."""
        if self.kernels is not None:
            return (*(kernel for kernel in KERNELS if kernel in self.kernels), "for-loop")
        known = parameters_of(self.load())
        return (*(kernel for kernel in KERNELS if kernel in known and known[kernel].default is not False), "for-loop")

    @cached_property
    def fuses_shards(self) -> bool:
        """Whether its fused kernel takes the ``DTensor`` parameters of FSDP2, as those of Adam and AdamW do."""
        return self._is_torch("Adam", "AdamW")

    @cached_property
    def fuses_only_on_cpu(self) -> bool:
        """Whether its fused kernel exists for the CPU only, as that of Adagrad before torch 2.13."""
        if not self._is_torch("Adagrad"):
            return False
        release = importlib.metadata.version("torch").split(".")
        return (int(release[0]), int(release[1])) < (2, 13)

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
        """The names of all options, including those that choose an implementation."""
        return frozenset(fields(self.options)) | frozenset(self.implementations) - {"for-loop"}

    @cached_property
    def unsayable(self) -> frozenset[str]:
        """The options whose default a config cannot say, such as a dtype; None leaves them to the class."""
        parameters = parameters_of(self.load()).items()
        return frozenset(name for name, known in parameters if known.default is not plain_default(known))

    @property
    def open(self) -> bool:
        """Whether the class takes options of any name."""
        return self.options.model_config.get("extra") == "allow"

    def takes(self, key: str) -> bool:
        """Say whether an option of this name is one of the class; a mark of a group is none."""
        return key in self.known or (self.open and key not in self.group_marks)

    def arguments(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the class is constructed with: options of a plan without marks, kernels, and what it computes.

        An option that is None, and whose default no config can say, is left to the class.
        """
        known = {key: value for key, value in options.items() if self.takes(key) and key not in KERNELS}
        return {key: value for key, value in known.items() if value is not None or key not in self.unsayable}

    def complete(self, given: Mapping[str, Any], path: str = "optimizer") -> dict[str, Any]:
        """Return all options: the given ones, checked and coerced, the defaults and the fixed ones.

        Args:
            given: Options from a config.
            path: Their path in the config, for messages.

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

        Args:
            options: What :meth:`complete` returned.
            update: The new values, by option.
            path: The place of the change in the config, for messages.

        Raises:
            ConfigError: As :meth:`complete`.
        """
        # A large model with layer decay asks for hundreds of changes, most of one independent option. Checking only
        # that option takes much less time than checking all options anew.
        changed = dict(options)
        try:
            for key, value in update.items():
                if key not in self._independent or type(value) not in SCALARS:
                    return self.complete({**options, **update}, path)
                changed[key] = self._independent[key](value)
        except pydantic.ValidationError:
            return self.complete({**options, **update}, path)  # raises the error with our message
        return changed

    @cached_property
    def _independent(self) -> dict[str, Callable[[Any], Any]]:
        """The checks of the independent options, by option."""
        known = self.options.model_fields
        # No validator compares options from a signature. A base class's declaration does not count: a subclass may
        # have validators that compare these options.
        declared = known if self.schema is None else vars(self.schema).get("independent", ())
        return {
            name: pydantic.TypeAdapter(known[name].rebuild_annotation()).validator.validate_python
            for name in declared
            if name not in self.fixed
        }

    def refuse_unknown_defaults(self) -> None:
        """Raise a RegistrationError for a default or fixed option that a declared schema does not have."""
        if self.schema is None or self.open:
            return
        known = fields(self.schema)
        for key in (*self.defaults, *self.fixed):
            if key not in known:
                raise RegistrationError(
                    f"optimizer {self.name!r} is registered with {shown(key)}, which is not in "
                    f"{self.schema.__qualname__}.{suggest(key, known)} There are: {', '.join(known)}."
                )

    def refuse_unknown(self, given: Collection[str], path: str) -> None:
        """Raise a ConfigError for the first option that the optimizer does not take."""
        if self.known.issuperset(given):
            return
        for key in given:
            if key not in self.known and not (self.open and key.isidentifier()):
                takes = f"It takes: {', '.join(sorted(self.known))}." if self.known else "It takes no options."
                hint = suggest(key, [*self.known, *self.group_marks])
                raise ConfigError(f"{self.name} takes no option {shown(key)}.{hint} {takes}", path)


def _switch(value: object, path: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"must be true, false or null, not {shown(value)}", path)
    return value
