"""Loading of state by name, into any optimizer whose groups name their parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer

from optimbuild.checkpoint.copy_on_step import copy_shared_at_next_step
from optimbuild.checkpoint.flat_shards import refuse_flat_shards
from optimbuild.checkpoint.group_options import set_options
from optimbuild.checkpoint.known_names import KnownNames, Rename
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.matching import Missing, Unexpected
from optimbuild.checkpoint.named_optimizer import NamedOptimizer
from optimbuild.checkpoint.prepared_load import Choices, WhoseOptions, converted_state, prepare
from optimbuild.checkpoint.unnamed_groups import GivenNames


def load_optimizer_state(
    optimizer: Optimizer,
    state: Mapping[str, Any],
    options: WhoseOptions = "config",
    missing: Missing = "error",
    unexpected: Unexpected = "error",
    names: GivenNames = None,
    rename: Rename = None,
) -> LoadReport:
    """Load state into an optimizer, matched by parameter name.

    Everything is checked first: where something does not fit, nothing is loaded. Tensors of the right device and
    memory layout are not copied, unless the caller still holds them at the next step. Under ZeRO every rank passes
    the whole state and keeps its own part; no rank waits for another.

    Args:
        optimizer: One that :func:`optimbuild.build_optimizer` built, or any whose groups have ``param_names``.
        state: What :func:`~optimbuild.checkpoint.optimizer_state` returned, or an older layout: a
            ``state_dict()`` of torch with ``param_names``, one group per parameter with a ``name`` (InternVL,
            InternImage), one unnamed group per parameter in model order (MMEngine), a consolidated ZeRO state.
        options: Whose LR, weight decay and so on count from now on: those of the ``config``, or of the ``checkpoint``,
            which a schedule needs that computes each LR from the last one (most of torch's).
        missing: What happens to parameters without saved state: ``error``, or ``init`` to start them afresh.
        unexpected: What happens to saved state that nothing here uses: ``error``, or ``ignore`` to leave it out.
        names: Names of saved groups that lack them: a list per group, or the function that made the model's groups.
        rename: What saved names are called now: new prefixes by old ones, or a function of a name.

    Returns:
        What was loaded, and how the options changed since the save.

    Raises:
        CheckpointError: Something does not fit; the message lists names. Nothing was loaded.

    >>> import torch
    >>> from optimbuild import build_optimizer, checkpoint
    >>> model = torch.nn.Linear(2, 2)
    >>> first = build_optimizer({"optimizer": {"type": "sgd", "lr": 1e-4}}, model)
    >>> model(torch.ones(2)).sum().backward()
    >>> first.step()
    >>> second = build_optimizer({"optimizer": {"type": "sgd", "lr": 5e-5}}, model)
    >>> print(checkpoint.load_optimizer_state(second, checkpoint.optimizer_state(first)))
    state of 2 parameters loaded (layout: optimbuild, version 1)
    lr of 2 parameters: 0.0001 → 5e-05: weight, bias
    the options of the config count
    """
    refuse_flat_shards(optimizer)
    named = NamedOptimizer.of(optimizer)
    load = prepare(named, KnownNames(named, rename), state, Choices(options, missing, unexpected, names, rename))
    assign(named, converted_state(named, load.match, load.saved.state), load.updates)
    return load.report


def assign(named: NamedOptimizer, fresh: Mapping[str, dict[str, Any]], updates: list[dict[str, Any]]) -> None:
    """Give the optimizer its new state and options, and run its hooks. Nothing but a hook can fail.

    Args:
        named: The optimizer.
        fresh: The state of the parameters that this rank keeps. All others start afresh, without any.
        updates: The counters and options of each group that come back from the save.
    """
    state = named.local.state
    for name, param in named.owned():
        if name in fresh:
            state[param] = fresh[name]
        else:
            state.pop(param, None)
    if named.is_zero:
        named.optimizer.state.clear()  # torch's own loading leaves second references to all tensors there
    for group, update in zip(named.optimizer.param_groups, updates, strict=True):
        set_options(group, update)
    copy_shared_at_next_step(named.local)
    _run_post_hooks(named.optimizer)


def _run_post_hooks(optimizer: Optimizer) -> None:
    """Run what was given to ``register_load_state_dict_post_hook``.

    Torch runs these hooks only in its own ``load_state_dict``, and lists them only in this attribute.
    """
    hooks: Mapping[int, Callable[[Optimizer], None]] = getattr(optimizer, "_optimizer_load_state_dict_post_hooks", {})
    for hook in list(hooks.values()):
        hook(optimizer)
