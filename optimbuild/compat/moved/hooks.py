"""Moved to :mod:`optimbuild.model.hints`."""

from optimbuild.model.hints import Hooks

__all__ = ["Hooks"]
