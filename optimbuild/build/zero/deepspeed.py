"""The part of a DeepSpeed config that a plan decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from optimbuild.errors import ConfigError
from optimbuild.messages import counted
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer

CLASSES_OF_ITS_OWN = ("Adagrad", "Muon")
"""Classes of ``torch.optim`` whose names DeepSpeed gives to its own classes, with other options."""


def deepspeed_config(plan: Plan) -> dict[str, Any]:
    """Return the part of a DeepSpeed config that belongs to the optimizer.

    DeepSpeed's config holds one setting for all parameters, so pass the built optimizer as well, which
    has a group for each; DeepSpeed then uses that one::

        deepspeed.initialize(
            model=model, optimizer=build_optimizer(config, model), config={**training, **deepspeed_config(plan)}
        )

    Args:
        plan: A plan without ``zero``: DeepSpeed shards by itself.

    Returns:
        JSON data. ``optimizer`` is missing where the class is none that DeepSpeed can construct by name, and where the
        plan has several optimizers.

    Raises:
        ConfigError: The plan has ``zero``, or an optimizer that takes matrices only, as Muon does.

    >>> from optimbuild import make_plan
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, torch.nn.Linear(2, 2))
    >>> deepspeed_config(plan)["optimizer"]["type"], deepspeed_config(plan)["optimizer"]["params"]["momentum"]
    ('SGD', 0.9)
    """
    if plan.spec.sharding is not None:
        raise ConfigError("DeepSpeed shards the optimizer state by itself: leave `zero` off", "zero")
    kinds = {name: find_optimizer(name) for name in [group.optimizer for group in plan.groups]}
    for name, kind in kinds.items():
        if kind.dimensions is not None:
            raise ConfigError(
                f"{name} takes tensors of {counted(kind.dimensions, 'dimension')}, and ZeRO of DeepSpeed hands over "
                "flat tensors: use `zero: true`, or FSDP2"
            )
    # any torch optimizer, whatever DeepSpeed was tested with, and under its CPU offload too
    part: dict[str, Any] = {"zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}
    kind = find_optimizer(plan.spec.optimizer.type)
    cls = kind.load()
    is_torchs = getattr(torch.optim, cls.__name__, None) is cls and cls.__name__ not in CLASSES_OF_ITS_OWN
    if len(kinds) > 1 or not is_torchs:
        return part
    params = {key: value for key, value in kind.complete(plan.spec.optimizer.options).items() if value is not None}
    if cls.__name__ in ("Adam", "AdamW"):  # by default DeepSpeed takes its own Adam, with other options
        params |= {"torch_adam": True, "adam_w_mode": cls.__name__ == "AdamW"}
    return part | {"optimizer": {"type": cls.__name__, "params": _json(params)}}


def _json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, (list, tuple)) else value
