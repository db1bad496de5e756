"""The data files of a save, by ``torch.distributed.checkpoint``: each rank writes and reads its own part."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optimbuild.checkpoint.ranks import Ranks, lost_ranks
from optimbuild.errors import CheckpointError
from optimbuild.messages import shown


def write(tensors: dict[str, Any], data: Path, ranks: Ranks) -> None:
    """Write tensors, each rank its own. A tensor that several ranks have is written by one of them.

    Args:
        tensors: The tensors of this rank by key.
        data: The folder of the data files; it is made.
        ranks: The ranks, each of which calls this.

    Raises:
        CheckpointError: A rank failed.
    """
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    writer = FileSystemWriter(data)
    _run(lambda: save(tensors, storage_writer=writer, planner=planner, process_group=ranks.group))


def read(tensors: dict[str, Any], data: Path, ranks: Ranks) -> None:
    """Read tensors in place, each rank its own.

    Args:
        tensors: Empty tensors by key, which are filled.
        data: The folder of the data files.
        ranks: The ranks, each of which calls this.

    Raises:
        CheckpointError: A rank failed.
    """
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    reader = FileSystemReader(data)
    _run(lambda: load(tensors, storage_reader=reader, planner=planner, process_group=ranks.group))


def _run(work: Callable[[], Any]) -> None:
    """Run torch's functions; failures, on any rank, become a CheckpointError."""
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a single process and ranks with different keys are intended here
            work()
    except CheckpointException as error:  # it is a BaseException, and no Exception
        rank, (cause, _) = next(iter(error.failures.items()))
        raise CheckpointError(f"rank {rank}: {type(cause).__name__}: {shown(str(cause), 300)}") from error
    except RuntimeError as error:
        raise lost_ranks(error) from error
    except OSError as error:
        raise CheckpointError(f"{type(error).__name__}: {shown(str(error), 300)}") from error
