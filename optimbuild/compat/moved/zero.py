"""Moved to :mod:`optimbuild.build.zero.deepspeed`."""

from optimbuild.build.zero.deepspeed import deepspeed_config

__all__ = ["deepspeed_config"]
