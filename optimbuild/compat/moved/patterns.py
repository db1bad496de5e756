"""Moved to :mod:`optimbuild.model.patterns`."""

from optimbuild.model.patterns import Pattern, PatternText

__all__ = ["Pattern", "PatternText"]
