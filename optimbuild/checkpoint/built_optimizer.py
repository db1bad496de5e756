"""What makes a torch optimizer one that optimbuild built: its plan, loading by name, and names for new groups.

All of it belongs to the class. Torch drops hooks and other attributes where an optimizer is copied or pickled, and
a copy that has lost its names would load state by position, one parameter's moments into another.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Protocol, cast

from torch import nn
from torch.optim import Optimizer

from optimbuild.checkpoint.added_groups import planned_groups, refuse_groups
from optimbuild.checkpoint.fused_sgd import start_late_momentum
from optimbuild.checkpoint.load_state_dict import resumable
from optimbuild.checkpoint.named_optimizer import is_zero
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown
from optimbuild.plan.plan import Plan


class Watch(Protocol):
    """What looks before each step, and after each load, whether an optimizer does what its plan says."""

    def before_step(self, optimizer: Optimizer, *args: Any) -> None:
        """Look, where a look is due."""

    def after_loading(self, optimizer: Optimizer) -> None:
        """Start from what was loaded."""


class BuiltOptimizer(Optimizer):
    """The part of a built optimizer that comes before its own class, see :func:`built_class`."""

    plan: Plan
    _model: weakref.ref[nn.Module] | None = None
    _watch: Watch | None = None

    @property
    def model(self) -> nn.Module | None:
        """The module that the optimizer was built for; None where it is gone, or the optimizer is a copy without it."""
        return None if self._model is None else self._model()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, such as unfrozen ones, as torch does; ``{"params": [tensor, …]}`` is enough.

        Their names are found in the model that the optimizer was built for. Options that the group does not give come
        from the plan, which may give tensors of the same group different ones: then more than one group is added.

        Args:
            param_group: ``params``, tensors or ``(name, tensor)`` pairs, and options.

        Raises:
            CheckpointError: A tensor is not in the model, which shows the form with names; or a name is taken.
            ValueError, TypeError: Torch refuses the group. Whatever is raised, nothing was added.
        """
        if "plan" not in self.__dict__:  # the constructor
            super().add_param_group(param_group)
            return
        groups = planned_groups(self, self.plan, self.model, param_group)
        refuse_groups(self, groups)
        before = len(self.param_groups)
        try:
            for group in groups:
                super().add_param_group(group)
        except BaseException:
            self._drop_groups(before)
            raise

    def _drop_groups(self, kept: int) -> None:
        """Take back the groups that were added behind some others."""
        del self.param_groups[kept:]

    def load_state_dict(self, state_dict: Any) -> None:
        """Load by name, see :func:`~optimbuild.checkpoint.resumable`.

        Args:
            state_dict: The state, in any layout that :func:`~optimbuild.checkpoint.load_optimizer_state` reads.

        Raises:
            CheckpointError: Something does not fit; the message lists names. Nothing was loaded.
        """
        if not isinstance(state_dict, Mapping):
            raise CheckpointError(f"optimizer state must be a mapping, not {shown(state_dict)}")
        super().load_state_dict(dict(state_dict))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle with the plan and the watch; the class is made again from the one that it was made from."""
        state = self.__getstate__()
        if "plan" in self.__dict__ and isinstance(state, dict):
            state = {**state, "plan": without_model(self.plan), "_watch": self._watch}
        return new_instance, (original_class(type(self)),), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "plan" in state:  # a copy, or a pickle; torch's load_state_dict comes here too, without it
            give_plan(self, state["plan"], None, state.get("_watch"))

    def __deepcopy__(self, memo: dict[int, Any]) -> BuiltOptimizer:
        """Copy with the tensors; the copy finds names in the copied model, where that was copied before."""
        new, (cls,), state = self.__reduce_ex__(4)
        other: BuiltOptimizer = new(cls)
        memo[id(self)] = other
        plan = {key: state.pop(key) for key in ("plan",) if key in state}  # nothing changes a plan
        other.__setstate__({**copy.deepcopy(state, memo), **plan})
        copied = memo.get(id(self.model))
        if isinstance(copied, nn.Module):
            other._model = weakref.ref(copied)
        return other


def give_plan(optimizer: Optimizer, plan: Plan, model: nn.Module | None, watch: Watch | None) -> None:
    """Give an optimizer its plan and its watch, and have it load by name.

    Args:
        optimizer: One of a class that :func:`built_class` returned.
        plan: The plan that it was built from.
        model: The planned module, in which names are found for tensors that are added later.
        watch: What watches over it; None for nothing.
    """
    optimizer.plan = plan  # type: ignore[attr-defined]
    if isinstance(optimizer, BuiltOptimizer):
        optimizer._model = None if model is None else weakref.ref(model)
        optimizer._watch = watch
    if watch is not None:
        optimizer.register_step_pre_hook(watch.before_step)
        optimizer.register_load_state_dict_post_hook(watch.after_loading)
    start_late_momentum(optimizer)
    if not is_zero(optimizer):  # whose own class loads by name, as torch reads the dict before any hook
        resumable(optimizer)


def without_model(plan: Plan) -> Plan:
    """Return a plan whose hints are what the model answered, and not the model's own methods."""
    return replace(plan, inventory=replace(plan.inventory, hints=plan.inventory.hints.recorded()))


@cache
def built_class(cls: Any) -> Any:
    """Return the class of built optimizers of a class: a subclass under the same name.

    What cannot have one, such as a function that makes optimizers, is returned itself.

    >>> import torch
    >>> built_class(torch.optim.AdamW).__name__, issubclass(built_class(torch.optim.AdamW), torch.optim.AdamW)
    ('AdamW', True)
    """
    if not isinstance(cls, type) or not issubclass(cls, Optimizer) or issubclass(cls, BuiltOptimizer):
        return cls
    called = {key: getattr(cls, key) for key in ("__module__", "__qualname__", "__doc__")}
    try:
        return cast(Any, type(cls))(cls.__name__, (BuiltOptimizer, cls), called)
    except Exception:  # noqa: BLE001  # a class may ask anything of its subclasses
        return cls


def original_class(cls: type) -> type:
    """Return the class from which :func:`built_class` made one; any other class is returned itself.

    >>> import torch
    >>> original_class(built_class(torch.optim.AdamW)) is torch.optim.AdamW
    True
    """
    return cls.__bases__[1] if cls.__bases__[:1] == (BuiltOptimizer,) and len(cls.__bases__) == 2 else cls


def new_instance(cls: type) -> Any:
    """Return an optimizer without content, which pickle and copy fill; pickles name this function."""
    made = built_class(cls)
    return made.__new__(made)
