"""MMEngine's checkpoints: loadable again, resumed with fewer groups, and saved with sharded state.

All three are needed before a hook could help, so importing the integration sets them up, once.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapperDict
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler, _ParamScheduler
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner

# --- loading ---------------------------------------------------------------------------------

METHODS = frozenset(
    [(HistoryBuffer, name) for name in ("min", "max", "current", "mean")]
    + [(OneCycleParamScheduler, name) for name in ("_annealing_cos", "_annealing_linear")]
)
"""The methods that MMEngine pickles, which pickle reads with ``getattr`` on their class."""


def known_method(owner: type, name: str) -> Any:
    """Replace ``getattr`` in a checkpoint: return one of the few methods that MMEngine pickles, and nothing else.

    Raises:
        pickle.UnpicklingError: It is another one.

    >>> known_method(HistoryBuffer, "mean").__name__
    'mean'
    >>> known_method(HistoryBuffer, "__init__")
    Traceback (most recent call last):
    _pickle.UnpicklingError: this checkpoint asks for '__init__' of ...
    """
    if not any(owner is cls and name == known for cls, known in METHODS):
        raise pickle.UnpicklingError(f"this checkpoint asks for {name!r} of {owner!r}, which MMEngine never saves")
    return getattr(owner, name)


def allow_checkpoints() -> None:
    """Let ``torch.load`` with ``weights_only=True`` read what MMEngine pickles beside tensors, by name.

    These are its log buffers, the numpy arrays of plain numbers in them, and two functions of a scheduler. Without
    them torch 2.6 and later refuses every checkpoint of a runner.
    """
    dtypes = [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")]
    rebuild: Any = np.empty(0).__reduce__()[0]
    scalar: Any = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            OneCycleParamScheduler,
            np.ndarray,
            np.dtype,
            *dtypes,
            # numpy 1 and numpy 2 know these by different names, and a checkpoint may come from either
            *[(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")],
            *[(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")],
            (known_method, "builtins.getattr"),
        ]
    )


# --- resuming --------------------------------------------------------------------------------


def resume_schedules() -> None:
    """Let schedulers resume on an optimizer of ours, whatever the number of groups was in the checkpoint.

    A scheduler saves a list with one value per group. After a checkpoint of MMEngine's default constructor,
    with one group per tensor, the values would land on the wrong groups.
    """
    if not hasattr(_ParamScheduler.load_state_dict, "__wrapped__"):
        _ParamScheduler.load_state_dict = _fitting(_ParamScheduler.load_state_dict)


def _fitting(load: Callable[[Any, Mapping[str, Any]], None]) -> Callable[[Any, Mapping[str, Any]], None]:
    @functools.wraps(load)
    def load_state_dict(self: Any, state_dict: Mapping[str, Any]) -> None:
        if not hasattr(self.optimizer, "plan"):
            load(self, state_dict)
            return
        lowest = getattr(self, "min_values", [])
        load(self, state_dict)
        # the optimizer has resumed already, by name: its groups hold the first and the current values
        groups, option = self.optimizer.param_groups, self.param_name
        self._last_value = [group[option] for group in groups]
        if hasattr(self, "base_values"):
            self.base_values = [group.get(f"initial_{option}", group[option]) for group in groups]
        if lowest:  # as configured; one more where the checkpoint brought MMEngine's base settings
            self.min_values = [*lowest, *lowest[-1:] * (len(groups) - len(lowest))][: len(groups)]

    return load_state_dict


# --- saving ----------------------------------------------------------------------------------


def save_shards() -> None:
    """Let runners gather state that ZeRO shards before they save: they ask only the first rank, which has one part."""
    for runner in (Runner, FlexibleRunner):
        if not hasattr(runner.save_checkpoint, "gathers"):
            runner.save_checkpoint = _gathering(runner.save_checkpoint)


def _gathering(save: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(save)
    def save_checkpoint(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("save_optimizer", True):
            wrapper = self.optim_wrapper
            for each in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
                if hasattr(each, "plan") and each.plan.spec.sharding is not None:
                    each.optimizer.consolidate_state_dict(to=0)
        save(self, *args, **kwargs)

    save_checkpoint.gathers = True  # type: ignore[attr-defined]
    return save_checkpoint
