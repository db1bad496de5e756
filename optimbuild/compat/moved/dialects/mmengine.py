"""Moved to :mod:`optimbuild.config.dialects.mmengine`."""

from optimbuild.config.dialects.mmengine import from_file, of_wrapper, read
from optimbuild.config.dialects.translated import OwnKeys

__all__ = ["OwnKeys", "from_file", "of_wrapper", "read"]
