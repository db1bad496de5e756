"""``optimizer.load_state_dict`` by name, for optimizers that optimbuild built."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.copy_on_step import copy_shared_at_next_step
from optimbuild.checkpoint.flat_shards import refuse_flat_shards
from optimbuild.checkpoint.group_options import set_options
from optimbuild.checkpoint.known_names import KnownNames
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.loading import assign
from optimbuild.checkpoint.named_optimizer import NamedOptimizer, is_zero
from optimbuild.checkpoint.prepared_load import Choices, converted_state, prepare
from optimbuild.messages import warn

_resumable: WeakSet[Optimizer] = WeakSet()


def resumable(optimizer: Optimizer) -> None:
    """Have ``optimizer.load_state_dict`` match by name, in any layout, so that a training loop needs no change.

    As always with ``load_state_dict``, the saved options count, so that an LR schedule goes on from its middle.
    Where they differ from the config's, a warning says so.

    Torch copies and pickles an optimizer without its hooks, so a copy must be made resumable again. One that
    :func:`optimbuild.build_optimizer` built is resumable already, and so are its copies.

    Args:
        optimizer: A torch optimizer whose groups have ``param_names``, also one of ZeRO, once or more often.
    """
    if optimizer in _resumable:
        return
    _resumable.add(optimizer)
    if is_zero(optimizer):  # torch reads the dict by position before any hook sees it, so there is no other way
        optimizer.load_state_dict = partial(load_into_zero, optimizer)  # type: ignore[method-assign]
        return
    optimizer.register_load_state_dict_pre_hook(_as_torch_loads_it)
    optimizer.register_load_state_dict_post_hook(copy_shared_at_next_step)


ADVICE = (
    "load_state_dict follows the config: `resume: {missing: init, unexpected: ignore}`, in a runner's config "
    "`paramwise_cfg=dict(resume=dict(missing='init', unexpected='ignore'))`; else call load_optimizer_state"
)


def load_into_zero(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Load into an optimizer of ZeRO as ``load_state_dict`` does, by name."""
    named = NamedOptimizer.of(optimizer)
    load = prepare(named, KnownNames(named), state_dict, _choices(named), ADVICE)
    _warn_of_changes(load.report)
    assign(named, converted_state(named, load.match, load.saved.state), load.updates)


def _choices(named: NamedOptimizer) -> Choices:
    """Return what the config of the optimizer chooses."""
    if named.plan is None:
        return Choices(options="checkpoint")
    resume = named.plan.spec.resume
    return Choices("checkpoint", resume.missing, resume.unexpected)


def _as_torch_loads_it(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return a state in any layout as a state dict that torch loads into this optimizer without a change.

    The returned state is keyed by tensor. Torch looks up only positions and keeps values under other keys as
    they are; by then all are checked and converted. State of which nobody knows what the optimizer keeps is keyed
    by position, and torch casts it. The groups have no ``param_names``, so torch keeps those of the optimizer.
    Hooks that were registered later see what this returns.
    """
    if "param_groups" not in state_dict:  # those that torch makes for FSDP1 have some
        refuse_flat_shards(optimizer)
    named = NamedOptimizer.of(optimizer)
    load = prepare(named, KnownNames(named), state_dict, _choices(named), ADVICE)
    _warn_of_changes(load.report)
    fresh = converted_state(named, load.match, load.saved.state)
    groups, position = [], 0
    for group, update in zip(optimizer.param_groups, load.updates, strict=True):
        taken = {key: _copied_option(value) for key, value in group.items() if key not in ("params", "param_names")}
        set_options(taken, update)
        groups.append({**taken, "params": list(range(position, position + len(group["params"])))})
        position += len(group["params"])
    places = {name: place for place, name in enumerate(named.params)}
    unknown = {name for name, entries in load.match.entries.items() if entries is None}
    state = {places[name] if name in unknown else named.params[name]: found for name, found in fresh.items()}
    return {"state": state, "param_groups": groups}


def _copied_option(option: Any) -> Any:
    """Return an option that can be set without a change of the group that has it."""
    return option.clone() if isinstance(option, torch.Tensor) else option


def _warn_of_changes(report: LoadReport) -> None:
    if report.changes:
        warn(
            f"the options of the save count{report.but}. They are not those of the config: "
            f"{'; '.join(report.changes.lines())}. load_optimizer_state(optimizer, state) keeps the config's."
        )
