"""How ZeRO stage 1 lays parameters out over ranks: which rank holds which, and whether in one buffer."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from optimbuild.config.spec import Spec


def partition(sizes: Sequence[int], loads: Sequence[int]) -> list[int]:
    """Return a rank for each tensor, so that the ranks end up as even as whole tensors allow.

    Largest first, each to the rank that holds least so far (Graham's longest processing time rule,
    1969: the fullest rank holds at most 4/3 of what it would at best). It looks at all tensors at once: torch's
    own partition goes group by group, and so leaves the last large tensors of a model with many groups wherever
    they fall.

    Args:
        sizes: The size of each tensor, in bytes.
        loads: What each rank holds already, in bytes; zeros at first.

    >>> partition([4, 4, 3, 3, 2], [0, 0])
    [0, 1, 0, 1, 0]
    >>> partition([8], [0, 0, 0])
    [0]
    """
    heap = [(load, rank) for rank, load in enumerate(loads)]
    heapq.heapify(heap)
    ranks = [0] * len(sizes)
    for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
        load, rank = heap[0]
        ranks[place] = rank
        heapq.heapreplace(heap, (load + sizes[place], rank))
    return ranks


def fallbacks(spec: Spec, dtypes: Iterable[str], implementations: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Return why a plan with ZeRO does without what is fastest.

    Args:
        spec: The canonical config.
        dtypes: The dtypes of the trainable parameters.
        implementations: For each group its optimizer and its implementation.

    >>> spec = Spec.of({"optimizer": {"type": "adamw"}, "zero": True})
    >>> fallbacks(spec, {"float32", "bfloat16"}, [("adamw", "fused")])
    ('zero: no bucket view, because a bucket holds one dtype and there are bfloat16, float32',)
    """
    if spec.sharding is None:
        return ()
    found = []
    if spec.sharding.bucket_view and not one_bucket(spec, dtypes):
        found.append(
            f"zero: no bucket view, because a bucket holds one dtype and there are {', '.join(sorted(set(dtypes)))}"
        )
    slower = dict.fromkeys(pair for pair in implementations if pair[1] != "fused")
    if spec.implementation == "auto":
        found += [
            f"zero: {optimizer} runs as {implementation}, because there is no fused kernel for it with these "
            "options and dtypes"
            for optimizer, implementation in slower
        ]
    return tuple(found)


def one_bucket(spec: Spec, dtypes: Iterable[str]) -> bool:
    """Say whether the parameters of a rank are kept in one flat buffer: as asked, where they share a dtype."""
    return spec.sharding is not None and spec.sharding.bucket_view and len(set(dtypes)) < 2
