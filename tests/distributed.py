"""Real processes for tests: ranks joined by gloo on the loopback device, with a time limit.

A fork server imports torch once; each rank is a fork of it and starts in milliseconds, so a test may start its own.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
import torch

FSDP2_TRAINS_ON_CPU = hasattr(torch.cpu.Stream, "record_event")

needs_fsdp2_on_cpu = pytest.mark.skipif(
    not FSDP2_TRAINS_ON_CPU, reason="FSDP2 of torch 2.6 trains on accelerators only"
)

GRACE = 5.0
"""Seconds that the other ranks get after one has failed, to fail by themselves and say how."""

PRELOADED = [
    "torch._dynamo",
    "torch.distributed.checkpoint",
    "torch.distributed.optim",
    "optimbuild.build.build",
    "optimbuild.checkpoint",
    "mmengine.optim",
]
"""What the fork server imports: what takes long, such as what torch imports at the first step of any optimizer."""


@dataclass(frozen=True)
class Outcome:
    """How one rank ended.

    Args:
        result: What the check returned.
        failure: The traceback of what it raised, or why it ended without an answer; empty where it returned.
        exit_code: The exit code of the process; negative for a signal.
    """

    result: Any = None
    failure: str = ""
    exit_code: int | None = None


def run(world_size: int, check: Callable[..., Any], *args: Any, timeout: float = 60.0) -> list[Any]:
    """Run ``check(*args)`` on every rank of a gloo process group, and return the results by rank.

    Args:
        world_size: The number of ranks.
        check: A function at the top level of a module; ``torch.distributed`` knows rank and world size in it.
        args: Its arguments, and its result: what pickle can carry.
        timeout: Seconds after which all ranks are ended.

    Raises:
        AssertionError: A rank raised, died, or took too long; holds every rank's traceback.
    """
    outcomes = outcomes_of(world_size, check, *args, timeout=timeout)
    failures = [f"--- rank {rank} ---\n{o.failure}" for rank, o in enumerate(outcomes) if o.failure]
    if failures:
        raise AssertionError("\n".join([f"{len(failures)} of {world_size} ranks failed", *failures]))
    return [outcome.result for outcome in outcomes]


def outcomes_of(world_size: int, check: Callable[..., Any], *args: Any, timeout: float = 60.0) -> list[Outcome]:
    """Run ``check(*args)`` on every rank as :func:`run` does, and return how each of them ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as directory:
        ranks: list[tuple[BaseProcess, Connection]] = []
        for rank in range(world_size):
            reader, writer = context.Pipe(duplex=False)
            store = os.path.join(directory, "store")
            process = context.Process(
                target=_rank, args=(writer, rank, world_size, store, check, args, timeout), daemon=True
            )
            process.start()
            writer.close()
            ranks.append((process, reader))
        try:
            return _collected(ranks, timeout)
        finally:
            for process, reader in ranks:
                process.kill()
                process.join()
                reader.close()


def _rank(
    writer: Connection,
    rank: int,
    world_size: int,
    store: str,
    check: Callable[..., Any],
    args: Sequence[Any],
    limit: float,
) -> None:
    """Join the process group, run the check, and send what came of it."""
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=world_size, timeout=timedelta(seconds=limit)
        )
        dist.barrier()  # a check that needs no other rank could leave while those are still connecting to it
        answer = (check(*args), "")
    except BaseException:  # noqa: BLE001  # a failing rank must report, whatever it raised
        answer = (None, traceback.format_exc())
    writer.send(answer)
    writer.close()
    if not answer[1]:
        dist.destroy_process_group()


def _collected(ranks: Sequence[tuple[BaseProcess, Connection]], timeout: float) -> list[Outcome]:
    """Wait for every rank's answer, but not for long once one of them has failed."""
    answers: dict[int, tuple[Any, str]] = {}
    limit = time.monotonic() + timeout
    while len(answers) < len(ranks):
        pending = {reader: rank for rank, (_, reader) in enumerate(ranks) if rank not in answers}
        ready = wait(list(pending), timeout=max(0.0, limit - time.monotonic()))
        if not ready:
            break
        for reader in ready:
            rank = pending[reader]  # type: ignore[index]
            try:
                answers[rank] = reader.recv()  # type: ignore[union-attr]
            except EOFError:
                answers[rank] = (None, "the process ended without an answer")
            if answers[rank][1]:
                limit = min(limit, time.monotonic() + GRACE)
    return [_outcome(process, answers.get(rank)) for rank, (process, _) in enumerate(ranks)]


def _outcome(process: BaseProcess, answer: tuple[Any, str] | None) -> Outcome:
    if answer is None:
        return Outcome(failure="no answer in time", exit_code=process.exitcode)
    process.join(timeout=GRACE)
    result, failure = answer
    return Outcome(result, failure, process.exitcode)
