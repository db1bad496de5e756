"""Ranks that exchange results, so that all of them succeed or fail together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch.distributed as dist

from optimbuild.errors import CheckpointError, OptimBuildError
from optimbuild.messages import shown

T = TypeVar("T")


class Ranks:
    """The ranks of a process group; a single process is one rank.

    Args:
        group: The process group; None means all ranks.

    >>> ranks = Ranks()
    >>> ranks.size, ranks.exchange("hello")
    (1, ['hello'])
    """

    def __init__(self, group: Any = None) -> None:
        self.group = group
        self.several = dist.is_available() and dist.is_initialized()
        self.rank: int = dist.get_rank(group) if self.several else 0
        self.size: int = dist.get_world_size(group) if self.several else 1

    def exchange(self, value: T) -> list[T]:
        """Return the values of all ranks, in their order. Every rank must call it.

        Raises:
            CheckpointError: A rank is gone.
        """
        if not self.several:
            return [value]
        found: list[Any] = [None] * self.size
        try:
            dist.all_gather_object(found, value, group=self.group)
        except RuntimeError as error:
            raise lost_ranks(error) from error
        return found

    def together(self, work: Callable[[], T]) -> T:
        """Run a function on every rank; where one fails, all raise, and none waits for ever.

        Raises:
            Exception: What ``work`` raised here.
            CheckpointError: Another rank failed; the message says which, and how.
        """
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  # the other ranks must learn of any failure
            failure = error
        texts = self.exchange(_failure_text(failure))
        if failure is not None:
            raise failure
        failed = [f"rank {rank}: {message}" for rank, message in enumerate(texts) if message is not None]
        if failed:
            raise CheckpointError(failed[0] + (f" (and {len(failed) - 1} more ranks)" if len(failed) > 1 else ""))
        return result

    def agree(self, values: Mapping[str, Any]) -> None:
        """Make sure that every rank was given the same values. Every rank must call it.

        Args:
            values: What must be the same, by what it is called.

        Raises:
            CheckpointError: Ranks have different values; raised on every rank.
        """
        texts = self.exchange({what: shown(value) for what, value in values.items()})
        for what in values:
            given = {found[what]: rank for rank, found in reversed(list(enumerate(texts)))}
            if len(given) > 1:
                each = ", ".join(
                    f"{text} on rank {rank}" for text, rank in sorted(given.items(), key=lambda one: one[1])
                )
                raise CheckpointError(f"every rank must be given the same {what}: {each}. Nothing was loaded.")

    def global_rank(self, rank: int) -> int:
        """Return the rank among all processes of one of these ranks."""
        return rank if self.group is None else dist.get_global_rank(self.group, rank)


def _failure_text(failure: Exception | None) -> str | None:
    if failure is None or isinstance(failure, OptimBuildError):
        return None if failure is None else str(failure)
    return f"{type(failure).__name__}: {shown(str(failure), 200)}"


def lost_ranks(error: BaseException) -> CheckpointError:
    """Return the error for a collective that was interrupted."""
    return CheckpointError(f"the ranks lost each other: {type(error).__name__}: {shown(str(error), 200)}")


def refuse_unjoined_ranks() -> None:
    """Refuse to write where a launcher started several processes and no process group joins them.

    Raises:
        CheckpointError: Every one of them would take itself for the only writer.
    """
    size = os.environ.get("WORLD_SIZE", "")
    if size.isdecimal() and int(size) > 1 and "RANK" in os.environ and not Ranks().several:
        raise CheckpointError(
            f"{size} processes were started together (WORLD_SIZE={size}), and no process group joins them, so each "
            "would save over the others. Call torch.distributed.init_process_group() before, or take WORLD_SIZE out "
            "of the environment of a process that is alone."
        )
