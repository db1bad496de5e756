"""A registered reading of a published constructor: the function, and the keys that it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pydantic


@dataclass(frozen=True)
class ConstructorType:
    """The reading of a constructor that runners' configs name.

    Args:
        read: The function that gets a :class:`~optimbuild.Published` and returns a :class:`~optimbuild.Translation`.
        keys: A pydantic model of the keys of ``paramwise_cfg`` that it reads; None where it does not say.
    """

    read: Callable[..., Any]
    keys: type[pydantic.BaseModel] | None = None

    def __call__(self, published: Any) -> Any:
        """Return what the function makes of what the constructor is given."""
        return self.read(published)
