"""Whole tensors over ranks: even, deterministic, and with a reason where the fastest layout is out of reach."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from optimbuild.config.spec import Spec
from optimbuild.plan.partition import fallbacks, one_bucket, partition

SIZES = st.lists(st.integers(0, 1000), max_size=40)


def loads_of(sizes: list[int], ranks: list[int], world_size: int) -> list[int]:
    return [sum(size for size, rank in zip(sizes, ranks, strict=True) if rank == r) for r in range(world_size)]


@given(SIZES, st.integers(1, 8))
def test_the_fullest_and_emptiest_rank_differ_by_at_most_one_tensor(sizes, world_size):
    loads = loads_of(sizes, partition(sizes, [0] * world_size), world_size)
    assert sum(loads) == sum(sizes)
    assert max(loads) - min(loads) <= max(sizes, default=0)


@given(SIZES, st.integers(1, 8))
def test_the_fullest_rank_holds_at_most_four_thirds_of_the_best_possible(sizes, world_size):
    loads = loads_of(sizes, partition(sizes, [0] * world_size), world_size)
    ordered = sorted(sizes, reverse=True)
    pair = sum(ordered[world_size - 1 : world_size + 1]) if len(sizes) > world_size else 0
    at_best = max(sum(sizes) / world_size, max(sizes, default=0), pair)  # each a lower bound of the best
    assert max(loads) <= 4 / 3 * at_best


@given(SIZES, SIZES)
def test_what_is_added_later_goes_where_there_is_room(first, second):
    ranks = partition(first, [0, 0, 0])
    loads = loads_of(first, ranks, 3)
    later = loads_of(second, partition(second, loads), 3)
    total = [a + b for a, b in zip(loads, later, strict=True)]
    assert max(total) - min(total) <= max([*first, *second], default=0)


def test_equal_sizes_go_round_the_ranks_in_order():
    assert partition([5] * 7, [0, 0, 0]) == [0, 1, 2, 0, 1, 2, 0]


def test_a_bucket_is_kept_where_asked_and_where_one_dtype_fills_it():
    def spec(zero):
        return Spec.of({"optimizer": {"type": "adamw"}, "zero": zero})

    assert one_bucket(spec(True), {"float32"})
    assert not one_bucket(spec(True), {"float32", "bfloat16"})
    assert not one_bucket(spec({"bucket_view": False}), {"float32"})
    assert not one_bucket(spec(False), {"float32"})


def test_reasons_are_given_once_and_only_where_something_was_given_up():
    def reasons(dtypes, kernels, **more):
        return fallbacks(Spec.of({"optimizer": {"type": "adamw"}, **more}), dtypes, kernels)

    mixed, slow = {"float32", "bfloat16"}, [("nadam", "foreach"), ("nadam", "foreach")]
    assert reasons({"float32"}, [("adamw", "fused")], zero=True) == ()
    assert reasons(mixed, slow) == ()
    assert len(reasons(mixed, slow, zero=True)) == 2
    assert reasons(mixed, [("adamw", "fused")], zero={"bucket_view": False}) == ()
    assert reasons({"float32"}, [("adamw", "foreach")], zero=True, implementation="foreach") == ()
    assert "nadam runs as foreach" in reasons({"float32"}, slow, zero=True)[0]
