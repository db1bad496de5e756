"""The dialects: foreign configs that translate into a :class:`~optimbuild.spec.Spec`, one file each."""

from optimbuild.dialects.reading import Reading, read, read_raw

__all__ = ["Reading", "read", "read_raw"]
