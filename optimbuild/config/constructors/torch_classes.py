"""Names of the ``torch.nn`` classes that published constructors ask for."""

from __future__ import annotations


def in_dimensions(*names: str) -> tuple[str, ...]:
    """Return the classes for 1, 2 and 3 dimensions, the lazy ones behind.

    >>> in_dimensions("Conv")
    ('Conv1d', 'Conv2d', 'Conv3d', 'LazyConv1d', 'LazyConv2d', 'LazyConv3d')
    """
    return tuple([f"{lazy}{name}{dims}d" for lazy in ("", "Lazy") for name in names for dims in (1, 2, 3)])
