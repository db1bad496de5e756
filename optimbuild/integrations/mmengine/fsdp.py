"""Models under torch's first FSDP, which MMEngine's FSDP strategy uses: it flattens parameters."""

from __future__ import annotations

from dataclasses import replace

from torch.distributed.fsdp import FlatParameter, FullyShardedDataParallel

from optimbuild.errors import ModelError
from optimbuild.model.kinds import kinds_among
from optimbuild.model.survey import Surveyed


def with_full_shapes(surveyed: Surveyed) -> Surveyed:
    """Return a survey in which every parameter has the shape that it had before FSDP flattened it.

    With ``use_orig_params`` FSDP leaves a one-dimensional shard in the place of each parameter, so
    rules that look at shapes would see only vectors.

    Args:
        surveyed: The survey of any module.

    Raises:
        ModelError: FSDP keeps its parameters in flat tensors, so no parameter can have its own options.
    """
    wrapped = [module for module in surveyed.model.modules() if isinstance(module, FullyShardedDataParallel)]
    if not wrapped:
        return surveyed
    if any(isinstance(tensor, FlatParameter) for tensor in surveyed.tensors):
        raise ModelError(
            "FSDP has put the parameters into flat tensors, so they cannot have options of their own. Leave "
            "use_orig_params at True in model_wrapper of the strategy"
        )
    shapes: dict[int, tuple[int, ...]] = {}
    for module in wrapped:
        if module._handle is not None:
            flat = module._handle.flat_param
            shapes |= {id(p): tuple(shape) for p, shape in zip(flat._params or (), flat._shapes, strict=True)}
    full = [shapes.get(id(tensor), tuple(tensor.shape)) for tensor in surveyed.tensors]
    by_name = {param.name: shape for param, shape in zip(surveyed.inventory, full, strict=True)}
    params = []
    for param in surveyed.inventory:
        kinds, evidence = kinds_among(param.name, param.owner, param.bases, by_name, param.container)
        params.append(param._replace(shape=by_name[param.name], kinds=kinds, evidence=evidence))
    return replace(surveyed, inventory=replace(surveyed.inventory, params=tuple(params)))
