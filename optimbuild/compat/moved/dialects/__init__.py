"""Moved to :mod:`optimbuild.config`."""

from optimbuild.config import Reading
from optimbuild.config import read_config as read

__all__ = ["Reading", "read"]
