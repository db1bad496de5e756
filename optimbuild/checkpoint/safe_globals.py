"""Types that torch may unpickle for the time of one load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def allowed(globals_: Sequence[Any]) -> Iterator[None]:
    """Let torch unpickle some classes and functions, and afterwards only what it could before.

    Torch's own context forgets at its end what was allowed before, such as what MMEngine's runner needs to resume.

    Args:
        globals_: Classes and functions, or pairs of one and the full name that stands for it in a file.
    """
    before = {_name(known) for known in torch.serialization.get_safe_globals()}
    with torch.serialization.safe_globals([each for each in globals_ if _name(each) not in before]):
        yield


def _name(known: Any) -> str:
    return known[1] if isinstance(known, tuple) else f"{known.__module__}.{known.__qualname__}"
