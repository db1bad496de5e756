"""ZeRO stage 1: an optimizer whose state is sharded over ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.distributed.optim import ZeroRedundancyOptimizer

from optimbuild.build.zero.agreement import refuse_failure_on_any_rank
from optimbuild.checkpoint.built_optimizer import BuiltOptimizer
from optimbuild.checkpoint.load_state_dict import load_into_zero
from optimbuild.errors import CheckpointError
from optimbuild.plan.partition import partition


def sharded_optimizer(
    cls: type, groups: list[dict[str, Any]], options: Mapping[str, Any], bucket_view: bool
) -> ZeroOptimizer:
    """Construct an optimizer whose state is sharded; a collective, called by every rank.

    Args:
        cls: The optimizer's class.
        groups: All groups, the same on every rank.
        options: What the class is constructed with.
        bucket_view: Whether the parameters of a rank share one flat buffer.

    Raises:
        ConfigError: The class refuses the shard of another rank (an optimizer may refuse some shapes).
    """
    failure: Exception | None = None
    try:
        optimizer = ZeroOptimizer(groups, cls, **options)
    except Exception as error:  # noqa: BLE001  # whatever it is, the other ranks must hear of it
        failure = error
    refuse_failure_on_any_rank(failure)
    if bucket_view:
        optimizer.fill_buckets()
    return optimizer


class ZeroOptimizer(BuiltOptimizer, ZeroRedundancyOptimizer):
    """Torch's ``ZeroRedundancyOptimizer``, its shards balanced over all groups, its buckets kept in place.

    Every rank holds all parameters and gradients, and the optimizer state of its own shard. A step
    updates the shard, and then each rank sends its part to all others. Make one with
    :func:`optimbuild.build_optimizer` and ``zero: true``.
    """

    # torch's type stub leaves out what a subclass builds on
    _all_params: list[torch.Tensor]
    _partition_parameters_cache: list[list[dict[str, Any]]]
    _device_to_params_per_rank_cache: dict[torch.device, list[list[torch.Tensor]]]

    def __init__(self, groups: Sequence[Mapping[str, Any]], cls: type, **options: Any) -> None:
        self._rank_of: dict[torch.Tensor, int] = {}
        self._addresses: list[int] = []
        super().__init__(groups, optimizer_class=cls, **options)
        self.defaults = {**self.defaults, **self.optim.defaults}  # torch's has the given ones only; schedulers ask here

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load by name; every rank passes the whole state and keeps its own part."""
        load_into_zero(self, state_dict)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse copies and pickles, which would lose the ranks and their shards.

        Raises:
            CheckpointError: Always.
        """
        raise CheckpointError(
            "an optimizer of ZeRO belongs to its ranks, so it cannot be copied or pickled. Keep its state: "
            "optimizer_state(optimizer), or save(optimizer, directory)."
        )

    def fill_buckets(self) -> None:
        """Move the parameters of each rank into one flat buffer, of which they become views."""
        self.parameters_as_bucket_view = True
        self._build_param_buckets()

    def _drop_groups(self, kept: int) -> None:
        super()._drop_groups(kept)
        del self.optim.param_groups[kept:]
        tensors = [tensor for group in self.param_groups for tensor in group["params"]]
        self._rank_of = {tensor: self._rank_of[tensor] for tensor in tensors}
        self._clear_cache()  # type: ignore[attr-defined]
        self._addresses = []  # so that the next step builds the buckets anew, of which some may be lost

    def _verify_same_dense_param_type(self) -> None:
        """Accept mixed dtypes: they never share a bucket here, and a tensor that is sent by itself may have any."""
        sparse = [place for place, tensor in enumerate(self._all_params) if tensor.is_sparse]
        if sparse:
            raise ValueError(f"{len(sparse)} parameters are sparse, and only dense ones can be sharded")

    def _partition_parameters(self, params_per_rank: Any = None) -> list[list[dict[str, Any]]]:
        """Balance over all groups at once; a parameter keeps its rank when a group is added later."""
        if params_per_rank is not None or self._partition_parameters_cache:
            return super()._partition_parameters(params_per_rank)  # type: ignore[misc, no-any-return]
        self._assign_ranks()
        shards: list[list[dict[str, Any]]] = [
            [{**group, "params": []} for group in self.param_groups] for _ in range(self.world_size)
        ]
        for i, group in enumerate(self.param_groups):
            for tensor in group["params"]:
                shards[self._rank_of[tensor]][i]["params"].append(tensor)
        self._partition_parameters_cache = shards
        return shards

    def _assign_ranks(self) -> None:
        """Give each parameter without a rank the one that :func:`~optimbuild.plan.partition.partition` chooses."""
        loads = [0] * self.world_size
        for tensor, rank in self._rank_of.items():
            loads[rank] += tensor.numel() * tensor.element_size()
        new = [tensor for group in self.param_groups for tensor in group["params"] if tensor not in self._rank_of]
        ranks = partition([tensor.numel() * tensor.element_size() for tensor in new], loads)
        self._rank_of.update(zip(new, ranks, strict=True))

    def _build_param_buckets(self) -> None:
        if len({tensor.dtype for group in self.param_groups for tensor in group["params"]}) > 1:
            self.parameters_as_bucket_view = False  # a bucket would cast them: the ranks send tensor by tensor
        super()._build_param_buckets()  # type: ignore[misc]
        self._addresses = self._addresses_now()

    def _addresses_now(self) -> list[int]:
        if not self.parameters_as_bucket_view:
            return []
        return [tensor.data_ptr() for group in self.param_groups for tensor in group["params"]]

    def _local_step(self, *args: Any, **kwargs: Any) -> Any:
        if self._addresses_now() != self._addresses:
            # model.to(...) and the like moved parameters out of the buckets: what the step sends would be stale
            self._device_to_params_per_rank_cache.clear()
            self._build_param_buckets()
        return super()._local_step(*args, **kwargs)
