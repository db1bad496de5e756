"""The full shapes of parameters that FSDP1 or DeepSpeed has taken away: only a shard is in their place."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from optimbuild.errors import ModelError


def shapes_before_fsdp(modules: Iterable[nn.Module]) -> dict[int, tuple[int, ...]]:
    """Return the full shapes of the parameters that FSDP1 flattened, by the id of the tensor.

    With ``use_orig_params`` FSDP1 leaves a one-dimensional shard in the place of each parameter, and only private
    attributes know the shapes. While nobody has imported its module, no parameter is flattened.

    Args:
        modules: All modules of a model, wrappers included.

    Raises:
        ModelError: FSDP1 keeps parameters in flat tensors, so no parameter can have its own options.
    """
    fsdp = getattr(sys.modules.get("torch.distributed.fsdp"), "FullyShardedDataParallel", None)
    if fsdp is None:
        return {}
    shapes: dict[int, tuple[int, ...]] = {}
    for module in modules:
        if not isinstance(module, fsdp) or module._handle is None:
            continue
        flat = module._handle.flat_param
        if flat._params is None:
            raise ModelError(
                "FSDP keeps the parameters in flat tensors, so they cannot have options of their own. Give it "
                "use_orig_params=True (in MMEngine: in model_wrapper of the strategy)"
            )
        shapes |= {id(param): tuple(shape) for param, shape in zip(flat._params, flat._shapes, strict=True)}
    return shapes


def is_flattened(tensor: Tensor) -> bool:
    """Say whether FSDP1 has flattened a parameter, or made the parameter as a flat one."""
    return bool(tensor.__dict__.get("_fsdp_flattened"))


def full_shape(tensor: nn.Parameter, flattened: Mapping[int, Sequence[int]]) -> Sequence[int]:
    """Return the shape of a parameter; FSDP1 leaves a flat shard in its place, DeepSpeed stage 3 an empty tensor.

    Args:
        tensor: The parameter.
        flattened: What :func:`shapes_before_fsdp` returned.

    Raises:
        ModelError: FSDP1 has flattened it, and its shape is known to a module that is outside the model only.
    """
    noted = tensor.__dict__  # to ask a tensor for an attribute that it lacks takes much longer
    if not noted:
        return tensor.shape  # nearly always
    if not is_flattened(tensor):
        shape: Sequence[int] = noted.get("ds_shape", tensor.shape)
        return shape
    if id(tensor) not in flattened:
        raise ModelError(
            "FSDP has flattened the parameters of this model, and only the module that FSDP returned knows their "
            "shapes. Give that one, not a module inside it"
        )
    return flattened[id(tensor)]
