"""Moved to :mod:`optimbuild.model.hints`, where hooks are called hints."""

from optimbuild.model.hints import Hints as Hooks

__all__ = ["Hooks"]
