"""Classes outside of torch for which published constructors ask by type, and the names that stand for them."""

from __future__ import annotations

IMPLICIT = ("ImplicitA", "ImplicitM")
"""The classes of MMYOLO that hold the implicit knowledge of YOLOv7."""


def class_names(cls: type) -> tuple[str, ...]:
    """Return what is recorded of such a class, or of one that derives from it: its name, with its package.

    A class of another package that is only called the same is recorded with that package.

    >>> class_names(type("ImplicitA", (), {"__module__": "mmyolo.models.heads"})), class_names(int)
    (('mmyolo.ImplicitA',), ())
    """
    found = [base for base in cls.__mro__ if base.__name__ in IMPLICIT]
    return tuple([f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in found])


def by_name(owner: str) -> str:
    """Return what stands for such a class where a file has its name, and nobody recorded its package.

    >>> by_name("ImplicitA")
    'ImplicitA (by its name)'
    """
    return f"{owner} (by its name)"
