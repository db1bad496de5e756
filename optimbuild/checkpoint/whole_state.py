"""The whole state of an optimizer by parameter name, as one value to save."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from optimbuild.checkpoint.flat_shards import refuse_flat_shards
from optimbuild.checkpoint.gather import gathered
from optimbuild.checkpoint.layouts import VERSION
from optimbuild.checkpoint.named_optimizer import NamedOptimizer


def optimizer_state(optimizer: Optimizer, to_rank: int | None = None) -> dict[str, Any]:
    """Return an optimizer's state by parameter name, ready for ``torch.save``.

    The tensors are copies on the CPU, so training may go on before they are written. ``torch.load`` reads
    the file with ``weights_only=True``.

    Under ZeRO, and on an FSDP2 model, this is a **collective**: every rank must call it. For
    state that does not fit into one machine's memory there is :func:`~optimbuild.checkpoint.save`.

    Args:
        optimizer: One that :func:`optimbuild.build_optimizer` built, or any whose groups have ``param_names``.
        to_rank: Under ZeRO and FSDP2 the rank, within the optimizer's process group, that gets the state; the
            others get an empty dict. None gives it to every rank.

    Returns:
        ``{"state": {name: {key: tensor}}, "params": {name: {"lr": …, "weight_decay": …}}, "fingerprint": …,
        "version": 1}``. A parameter that never had a gradient has no entry under ``state``.

    Raises:
        CheckpointError: The groups name no parameters, the optimizer keeps something else than tensors
            and numbers, or there is no such rank.

    >>> import torch
    >>> from optimbuild import build_optimizer
    >>> from optimbuild.checkpoint import optimizer_state
    >>> model = torch.nn.Linear(2, 2)
    >>> optimizer = build_optimizer({"optimizer": {"type": "adamw", "lr": 0.1}}, model)
    >>> model(torch.ones(2)).sum().backward()
    >>> optimizer.step()
    >>> state = optimizer_state(optimizer)
    >>> state["state"]["bias"]["step"], state["params"]["bias"]["lr"]
    (tensor(1.), 0.1)
    """
    refuse_flat_shards(optimizer)
    named = NamedOptimizer.of(optimizer)
    state = gathered(named, to_rank)
    if state is None:
        return {}
    return {
        "state": state,
        "params": {name: dict(options) for name, options in named.options().items()},
        "fingerprint": named.plan.fingerprint if named.plan is not None else "",
        "version": VERSION,
    }
