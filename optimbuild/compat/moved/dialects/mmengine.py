"""Moved to :mod:`optimbuild.config.dialects.mmengine`."""

from optimbuild.config.dialects.mmengine import OwnKeys, from_file, of_wrapper, read

__all__ = ["OwnKeys", "from_file", "of_wrapper", "read"]
