"""What a report reads of a plan. :class:`optimbuild.Plan` has it all; the report needs to know nothing else of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optimbuild.config.spec import Spec
    from optimbuild.model.inventory import Inventory
    from optimbuild.model.param_info import ParamInfo
    from optimbuild.registry.optimizer_type import OptimizerType


class DecisionView(Protocol):
    """What one parameter gets."""

    @property
    def name(self) -> str:
        """The parameter's name."""

    @property
    def param(self) -> ParamInfo:
        """The parameter."""

    @property
    def frozen(self) -> bool:
        """Whether it stays out of training."""

    @property
    def optimizer(self) -> str | None:
        """The optimizer's name; None where the parameter is frozen."""

    @property
    def options(self) -> Mapping[str, Any] | None:
        """All options of the optimizer; None where the parameter is frozen."""

    @property
    def group(self) -> int | None:
        """The index of the parameter's group; None where it is frozen."""


class GroupView(Protocol):
    """Parameters with the same optimizer and options."""

    @property
    def optimizer(self) -> str:
        """The optimizer's name."""

    @property
    def options(self) -> Mapping[str, Any]:
        """All options of the optimizer."""

    @property
    def params(self) -> Sequence[str]:
        """The parameters' names, in model order."""

    @property
    def numel(self) -> int:
        """The number of elements of all parameters together."""

    @property
    def implementation(self) -> str:
        """``fused``, ``foreach`` or ``for-loop``."""

    @property
    def name(self) -> str:
        """The name that a rule gave it; empty for a group of equal settings."""


class StepView(Protocol):
    """One edit that changed something."""

    @property
    def rule(self) -> str:
        """The rule's name."""

    @property
    def position(self) -> int:
        """The rule's place in the config, from 0."""

    @property
    def why(self) -> str:
        """The rule's reason."""

    @property
    def before(self) -> Mapping[str, Any]:
        """The changed options before the edit."""

    @property
    def after(self) -> Mapping[str, Any]:
        """The same options after the edit."""

    @property
    def factors(self) -> Mapping[str, float]:
        """The factors of the options that the edit multiplied."""


class DiffView(Protocol):
    """The difference between two plans; false where there is none."""

    def __bool__(self) -> bool: ...

    @property
    def changed(self) -> Mapping[str, Mapping[str, tuple[Any, Any]]]:
        """The values before and after, by parameter and option."""

    @property
    def removed(self) -> Sequence[str]:
        """Parameters that only the first plan has."""

    @property
    def added(self) -> Sequence[str]:
        """Parameters that only the second plan has."""

    @property
    def released(self) -> Sequence[str]:
        """Modules whose running statistics only the first plan keeps."""

    @property
    def kept(self) -> Sequence[str]:
        """Modules whose running statistics only the second plan keeps."""


class RankView(Protocol):
    """What one rank holds, in bytes."""

    @property
    def parameters(self) -> int:
        """All parameters."""

    @property
    def gradients(self) -> int:
        """The gradients of those that are trained."""

    @property
    def state(self) -> int:
        """The optimizer state that this rank keeps."""


class MemoryView(Protocol):
    """What every rank holds."""

    @property
    def ranks(self) -> Sequence[RankView]:
        """By rank."""

    @property
    def how(self) -> str:
        """What is sharded, in words."""


class PlanView(Protocol):
    """A config applied to a model: one decision per parameter, in model order."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[DecisionView]: ...

    def __getitem__(self, name: str) -> DecisionView: ...

    @property
    def spec(self) -> Spec:
        """The canonical config."""

    @property
    def inventory(self) -> Inventory:
        """The model's parameters."""

    @property
    def base(self) -> tuple[OptimizerType, Mapping[str, Any]]:
        """The config's own optimizer, and all of its options before any rule."""

    @property
    def groups(self) -> Sequence[GroupView]:
        """The parameter groups."""

    @property
    def group_names(self) -> Sequence[str]:
        """A short name for each group, by which loggers know it."""

    @property
    def frozen(self) -> Sequence[str]:
        """The names of the frozen parameters."""

    @property
    def kept_statistics(self) -> Sequence[str]:
        """The modules whose running statistics stay as they are."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the user should know."""

    @property
    def notes(self) -> Sequence[str]:
        """The sources of what the rules know."""

    @property
    def fingerprint(self) -> str:
        """A digest of what every parameter gets."""

    def traces(self, positions: Iterable[int]) -> Sequence[Sequence[StepView]]:
        """Return every step that led to the settings of parameters, by their positions in model order."""

    @property
    def param_memory(self) -> Sequence[tuple[int, int, int]]:
        """For every parameter the bytes of itself, its gradient and its state."""

    def memory(self, world_size: int) -> MemoryView:
        """Return what every rank holds."""


class ComparablePlan(PlanView, Protocol):
    """A plan that can be compared with another one of its class."""

    def diff(self, other: Any) -> DiffView:
        """Return what differs in ``other``."""
