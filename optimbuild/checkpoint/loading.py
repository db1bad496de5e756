"""Loading by name: into any optimizer, and through ``load_state_dict`` of one that optimbuild built."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.conversion import placed
from optimbuild.checkpoint.copy_on_step import own_at_next_step
from optimbuild.checkpoint.fused_sgd import complete_momentum
from optimbuild.checkpoint.group_options import changes, restored, set_options
from optimbuild.checkpoint.layouts import Names, Saved, saved_from
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.matching import Match, Missing, Unexpected, matched
from optimbuild.checkpoint.named_optimizer import Held, is_zero
from optimbuild.errors import CheckpointError, OptimBuildWarning
from optimbuild.messages import shown
from optimbuild.plan.diff import PlanDiff

Options = Literal["config", "checkpoint"]


def load_optimizer_state(
    optimizer: Optimizer,
    state: Mapping[str, Any],
    options: Options = "config",
    missing: Missing = "error",
    unexpected: Unexpected = "error",
) -> LoadReport:
    """Load state into an optimizer, matched by parameter name.

    So a model resumes after parameters were regrouped or reordered, on another number of ranks, with ZeRO on
    or off, fused or not. Everything is checked first: where something does not fit, nothing is loaded.

    Tensors are taken over where device and memory layout are right already. Those that the caller still holds
    at the optimizer's next step are copied then.

    Under ZeRO every rank passes the whole state and keeps its own part; no rank waits for another.

    Args:
        optimizer: One that :func:`optimbuild.build_optimizer` built, or any whose groups have ``param_names``.
        state: What :func:`~optimbuild.checkpoint.optimizer_state` returned, or an older layout: a
            ``state_dict()`` of torch with ``param_names``, one group a parameter with a ``name`` (InternVL,
            InternImage), one unnamed group a parameter in module order (MMEngine), a consolidated ZeRO state.
        options: Whose LR, weight decay and so on count from here on: ``config`` keeps what the optimizer has,
            ``checkpoint`` takes what was saved. A schedule that computes each LR from the last one (most of torch's)
            needs ``checkpoint`` to go on from its middle.
        missing: What to do about parameters without saved state, such as unfrozen ones: ``error``, or
            ``init`` to start them afresh.
        unexpected: What to do about saved state that has no place here, such as that of parameters that are
            frozen now: ``error``, or ``ignore`` to leave it out.

    Returns:
        What was loaded, and how the options changed since the save.

    Raises:
        CheckpointError: Something does not fit; lists the names. Nothing was loaded.

    >>> import torch
    >>> from optimbuild import build_optimizer
    >>> from optimbuild.checkpoint import load_optimizer_state, optimizer_state
    >>> model = torch.nn.Linear(2, 2)
    >>> first = build_optimizer({"optimizer": {"type": "sgd", "lr": 1e-4}}, model)
    >>> model(torch.ones(2)).sum().backward()
    >>> first.step()
    >>> second = build_optimizer({"optimizer": {"type": "sgd", "lr": 5e-5}}, model)
    >>> print(load_optimizer_state(second, optimizer_state(first)))
    state of 2 parameters loaded (layout: optimbuild, version 1)
    lr of 2 parameters: 0.0001 → 5e-05: weight, bias
    the options of the config count
    """
    held = Held.of(optimizer)
    names = Names(held)
    saved = saved_from(state, names)
    match = matched(held, saved, names, missing, unexpected)
    updates = updates_of(held, saved, options)
    report = reported(held, saved, match, options)
    fresh = placed_by_name(held, match, saved.state)
    assign(held, fresh, match, updates)
    return report


def updates_of(held: Held, saved: Saved, options: str) -> list[dict[str, Any]]:
    """Return the options that each group takes over: none where those of the config count.

    Raises:
        CheckpointError: ``options`` is neither, or parameters of one group were saved with different options.
    """
    if options not in ("config", "checkpoint"):
        raise CheckpointError(f"options must be 'config' or 'checkpoint', not {shown(options)}")
    return restored(saved.options, held) if options == "checkpoint" else []


def reported(held: Held, saved: Saved, match: Match, options: str) -> LoadReport:
    """Say what is about to be loaded, and how the plan changed since the save."""
    same = held.plan is not None and saved.fingerprint == held.plan.fingerprint
    return LoadReport(
        layout=saved.layout,
        loaded=tuple(match.entries),
        changes=PlanDiff({}) if same else changes(saved.options, held),
        options=options,
        missing=tuple(match.missing),
        ignored=tuple(match.ignored),
    )


def placed_by_name(held: Held, match: Match, state: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the state of the parameters that this rank keeps, ready for the optimizer.

    Args:
        held: The optimizer.
        match: What fits it.
        state: The values, by name.

    Raises:
        CheckpointError: A number cannot be held exactly, or fused SGD cannot go on from here.
    """
    fresh = {}
    for name, param in held.owned():
        if name in match.entries:
            expected, values = match.entries[name], state[name]
            if expected is None:
                fresh[name] = {key: placed(value, None, param) for key, value in values.items()}
            else:
                fresh[name] = {key: placed(values[key], entry, param) for key, entry in expected.items()}
    complete_momentum(held, fresh)
    return fresh


def assign(held: Held, fresh: Mapping[str, dict[str, Any]], match: Match, updates: list[dict[str, Any]]) -> None:
    """Give the optimizer its new state and options. Nothing in here can fail.

    Args:
        held: The optimizer.
        fresh: The state of the parameters that this rank keeps.
        match: Says which parameters start afresh, with what the optimizer has for them.
        updates: The options that each group takes over.
    """
    state, afresh = held.local.state, set(match.missing)
    for name, param in held.owned():
        if name in fresh:
            state[param] = fresh[name]
        elif name not in afresh:
            state.pop(param, None)
    if held.sharded:
        held.optimizer.state.clear()  # torch's own loading leaves a second reference to everything there
    for group, update in zip(held.optimizer.param_groups, updates, strict=False):
        set_options(group, update)
    own_at_next_step(held.local)


def resumable(optimizer: Optimizer) -> None:
    """Have ``optimizer.load_state_dict`` match by name, whatever the layout, so that a training loop needs no change.

    As ever with ``load_state_dict``, the saved options count, so that an LR schedule goes on from its middle.
    Where they differ from the config's, a warning says so.

    Args:
        optimizer: A torch optimizer, ZeRO's too, whose groups have ``param_names``.
    """
    if is_zero(optimizer):  # it reads the dict by position before torch's hooks see it
        optimizer.load_state_dict = partial(_load_into_zero, optimizer)  # type: ignore[method-assign]
        return
    optimizer.register_load_state_dict_pre_hook(_by_tensor)
    optimizer.register_load_state_dict_post_hook(own_at_next_step)


def _load_into_zero(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    _warn_of(load_optimizer_state(optimizer, state_dict, options="checkpoint"))


def _by_tensor(optimizer: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Return any layout as one that torch loads into this very optimizer.

    The state is by tensor and not by position: torch takes over as it is what stands under no position, and by name
    everything was checked and put in place already. Names are left to torch, which keeps those that a group has. A
    hook of somebody else's that comes after this one sees what this returns. Where nobody knows what the optimizer
    keeps, the state is by position, and torch casts it.
    """
    held = Held.of(optimizer)
    names = Names(held)
    saved = saved_from(state_dict, names)
    match = matched(held, saved, names, "error", "error")
    updates = updates_of(held, saved, "checkpoint")
    _warn_of(reported(held, saved, match, "checkpoint"))
    fresh = placed_by_name(held, match, saved.state)
    groups, position = [], 0
    for group, update in zip(optimizer.param_groups, updates, strict=True):
        taken = {key: _apart(value) for key, value in group.items() if key not in ("params", "param_names")}
        set_options(taken, update)
        groups.append({**taken, "params": list(range(position, position + len(group["params"])))})
        position += len(group["params"])
    places = {name: place for place, name in enumerate(held.params)}
    state = {places[n] if match.entries[n] is None else held.params[n]: found for n, found in fresh.items()}
    return {"state": state, "param_groups": groups}


def _apart(option: Any) -> Any:
    """Return an option such that setting it anew leaves the group alone that it stands in."""
    return option.clone() if isinstance(option, torch.Tensor) else option


def _warn_of(report: LoadReport) -> None:
    if report.changes:
        warnings.warn(
            "the options of the save count, and they are not those of the config: "
            f"{'; '.join(report.changes.lines())}. load_optimizer_state(optimizer, state) keeps the config's.",
            OptimBuildWarning,
            stacklevel=4,
        )
