"""The dialects: foreign configs that translate into a :class:`~optimbuild.spec.Spec`, one file each."""

from optimbuild.dialects.reading import read, read_raw
from optimbuild.dialects.types import Reading

__all__ = ["Reading", "read", "read_raw"]
