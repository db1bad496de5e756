"""Two other processes, joined by gloo on the loopback device, which do what they are asked.

They are started once, for all checks of a test run. Where the system can fork, they are forks of a server that imports
torch and does nothing else; a fork of this process, whose threads may hold locks, could hang.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

from optimbuild.errors import OptimBuildError

WORLD_SIZE = 2
LIMIT = 120.0
"""Seconds that an answer may take, the start of the processes included."""
PRELOADED = ["torch._dynamo", "torch.distributed.checkpoint", "torch.distributed.optim", "optimbuild.testing.training"]
"""What the server imports: what takes long, such as what torch imports at the first step of any optimizer."""
GRACE = 5.0
"""Seconds that the other rank gets after one has failed."""


class RankError(OptimBuildError):
    """A rank raised, ended, or took too long."""


def ask_ranks(work: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what a function returns on each rank, in a process group that torch.distributed knows.

    Args:
        work: A function at the top level of a module.
        args: Its arguments; like its results they must be what pickle can carry.

    Raises:
        RankError: A rank raised, ended or took too long, or the arguments cannot be sent; says why. The processes are
            then started anew for whoever asks next.
    """
    global _ranks
    try:
        request = pickle.dumps((sys.path, pickle.dumps((work, args))))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise RankError(
            f"other processes cannot import it ({error}). Define it at the top level of a module that Python can import"
        ) from error
    if _ranks is None:
        _ranks = _Ranks()
    try:
        return _ranks.answers(request)
    except RankError:
        close_ranks()
        raise


def close_ranks() -> None:
    """End the two processes, if they were started."""
    global _ranks
    if _ranks is not None:
        _ranks.close()
        _ranks = None


class _Ranks:
    """The processes and the pipes to them."""

    def __init__(self) -> None:
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        context.set_forkserver_preload(PRELOADED)
        self._directory = tempfile.TemporaryDirectory()
        self._ranks = []
        for rank in range(WORLD_SIZE):
            ours, theirs = context.Pipe()
            store = os.path.join(self._directory.name, "store")
            process = context.Process(target=_serve, args=(theirs, rank, store), daemon=True)
            process.start()
            theirs.close()
            self._ranks.append((process, ours))
        atexit.register(self.close)

    def answers(self, request: bytes) -> list[Any]:
        """Return the answers by rank."""
        pending = dict[Any, int]()
        for rank, (_, pipe) in enumerate(self._ranks):
            try:
                pipe.send_bytes(request)
            except OSError:
                raise RankError(f"rank {rank} has ended") from None
            pending[pipe] = rank
        found: dict[int, tuple[Any, str]] = {}
        limit = time.monotonic() + LIMIT
        while pending:
            ready = wait(list(pending), timeout=max(0.0, limit - time.monotonic()))
            for answering in ready:
                rank = pending.pop(answering)
                found[rank] = _received(answering)
                if found[rank][1]:
                    limit = min(limit, time.monotonic() + GRACE)
            if not ready:
                break
        failures = [f"rank {rank}: {failure}" for rank, (_, failure) in sorted(found.items()) if failure]
        if failures or pending:
            raise RankError("; ".join(failures or [f"no answer within {LIMIT:.0f} s"]))
        return [found[rank][0] for rank in range(WORLD_SIZE)]

    def close(self) -> None:
        """End the processes."""
        atexit.unregister(self.close)
        for process, pipe in self._ranks:
            pipe.close()
            process.kill()
            process.join()
        self._directory.cleanup()


def _received(pipe: Any) -> tuple[Any, str]:
    """Return a rank's result, and why it has none."""
    try:
        answer: tuple[Any, str] = pickle.loads(pipe.recv_bytes())  # noqa: S301  # from a process of ours
    except (EOFError, OSError):
        return None, "the process ended without an answer"
    return answer


_ranks: _Ranks | None = None


def _serve(pipe: Connection, rank: int, store: str) -> None:
    """Join the process group, and answer until nobody asks any more."""
    import torch
    import torch.distributed as dist

    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    torch.set_num_threads(1)
    limit = timedelta(seconds=LIMIT)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=WORLD_SIZE, timeout=limit)
    while True:
        try:
            request = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            sys.path[:], request = pickle.loads(request)  # noqa: S301  # from the process that started this one
            work, args = pickle.loads(request)  # noqa: S301
            answer = pickle.dumps((work(*args), ""))
        except BaseException as error:  # noqa: BLE001  # whatever it is, the one who asked must hear of it
            answer = pickle.dumps((None, "".join(traceback.format_exception_only(error)).strip()))
        pipe.send_bytes(answer)
