"""Failures told as what they are: of the saved state, of a function that the caller gave, or of neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from optimbuild.errors import CheckpointError, OptimBuildError
from optimbuild.messages import place_raised, shown

T = TypeVar("T")


@contextmanager
def told_as(what: str) -> Iterator[None]:
    """Turn whatever fails on saved state into a CheckpointError that says what was being done.

    Saved state comes from outside and may hold anything. All of this happens before the optimizer is touched. Want of
    memory stays what it is.

    Args:
        what: What has failed where something is raised, such as ``this is no optimizer state``.

    >>> with told_as("this is no optimizer state"):
    ...     {}["params"]
    Traceback (most recent call last):
    optimbuild.errors.CheckpointError: this is no optimizer state: KeyError: 'params'. Nothing was loaded.
    """
    try:
        yield
    except (OptimBuildError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise CheckpointError(f"{what}: {_text(error)}. Nothing was loaded.") from error


def called(name: str, function: Callable[..., T], argument: Any) -> T:
    """Return what a function of the caller's returns; a failure is said to be its own.

    Args:
        name: What the caller gave it as, such as ``rename``.
        function: The function.
        argument: What it is called with.

    Raises:
        CheckpointError: The function raised something.
    """
    try:
        return function(argument)
    except (OptimBuildError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        place = place_raised(error)
        where = f" ({place})" if place else ""
        given = f" for {shown(argument)}" if isinstance(argument, str) else ""
        raise CheckpointError(f"`{name}` raised {_text(error)}{given}{where}. Nothing was loaded.") from error


def _text(error: Exception) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text if text.isprintable() and len(text) <= 200 else shown(text, 200)}"
