"""Names of the ``torch.nn`` classes that published constructors ask for, as the rule ``groups`` has them."""

from __future__ import annotations


def of_torch(*names: str) -> tuple[str, ...]:
    """Return the names of classes of torch, and of no other classes that are called the same.

    >>> of_torch("Linear", "_ConvNd")
    ('torch.nn.Linear', 'torch.nn._ConvNd')
    """
    return tuple([f"torch.nn.{name}" for name in names])


def in_dimensions(*names: str) -> tuple[str, ...]:
    """Return the classes for 1, 2 and 3 dimensions, the lazy ones behind.

    >>> in_dimensions("Conv")[2:4]
    ('torch.nn.Conv3d', 'torch.nn.LazyConv1d')
    """
    return of_torch(*[f"{lazy}{name}{dims}d" for lazy in ("", "Lazy") for name in names for dims in (1, 2, 3)])
