"""Torch's first FSDP, which flattens parameters: the shapes that they had before."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from torch import nn

from optimbuild.errors import ModelError
from optimbuild.messages import listing


def shapes_before_fsdp(modules: Sequence[tuple[str, nn.Module]]) -> dict[int, tuple[int, ...]]:
    """Return the full shapes of the parameters that FSDP1 flattened, by the id of the tensor.

    With ``use_orig_params`` FSDP1 leaves a one-dimensional shard in the place of each parameter, and only private
    attributes know the shapes. While nobody has imported its module, no parameter is flattened.

    Args:
        modules: All modules of a model, wrappers included, with what the names of their parameters begin with.

    Raises:
        ModelError: FSDP1 keeps parameters in flat tensors, so no parameter can have its own options; or the module
            that knows the shapes is outside the model.
    """
    fsdp = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    if fsdp is None:
        return {}
    shapes: dict[int, tuple[int, ...]] = {}
    for _, module in modules:
        if not isinstance(module, fsdp) or module._handle is None:
            continue
        flat = module._handle.flat_param
        if flat._params is None:
            raise ModelError(
                "FSDP keeps the parameters in flat tensors, so they cannot have options of their own. Give it "
                "use_orig_params=True (in MMEngine: in model_wrapper of the strategy)"
            )
        shapes |= {id(param): tuple(shape) for param, shape in zip(flat._params, flat._shapes, strict=True)}
    _refuse_without_wrapper(modules, shapes)
    return shapes


def _refuse_without_wrapper(modules: Sequence[tuple[str, nn.Module]], shapes: Mapping[int, object]) -> None:
    shards = [
        prefix + key
        for prefix, module in modules
        for key, tensor in module._parameters.items()
        if tensor is not None and "_fsdp_flattened" in tensor.__dict__ and id(tensor) not in shapes
    ]
    if shards:
        raise ModelError(
            f"FSDP has flattened {listing(shards, 5)}, and only the module that FSDP returned knows their shapes. "
            "Give that one, not a module inside it"
        )
