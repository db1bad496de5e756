"""The two processes of the kit: joined, kept, and started anew after one has failed."""

from __future__ import annotations

import os

import pytest
import torch.distributed as dist

from optimbuild.testing.ranks import RankError, ask_ranks


def rank_and_process() -> tuple[int, int, int]:
    return dist.get_rank(), dist.get_world_size(), os.getpid()


def failing() -> None:
    raise KeyError("not here")


def ending() -> None:
    os._exit(3)


def test_two_ranks_answer_and_stay():
    first, second = ask_ranks(rank_and_process), ask_ranks(rank_and_process)
    assert [answer[:2] for answer in first] == [(0, 2), (1, 2)]
    assert first == second


@pytest.mark.parametrize(("work", "message"), [(failing, "rank 0: KeyError: 'not here'"), (ending, "ended without an")])
def test_after_a_failure_the_next_answer_comes_from_new_ranks(work, message):
    before = ask_ranks(rank_and_process)
    with pytest.raises(RankError, match=message):
        ask_ranks(work)
    assert {answer[2] for answer in ask_ranks(rank_and_process)}.isdisjoint(answer[2] for answer in before)


def test_what_cannot_be_sent_is_an_error_and_the_ranks_stay():
    before = ask_ranks(rank_and_process)
    with pytest.raises(RankError, match="other processes cannot import it"):
        ask_ranks(lambda: None)
    assert ask_ranks(rank_and_process) == before
