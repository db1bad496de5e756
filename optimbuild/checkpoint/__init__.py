"""Optimizer state by parameter name: saved, read from any layout, and matched to whatever optimizer resumes.

PyTorch keeps state by position, so a parameter that was frozen, added or regrouped since the save
silently gets another one's moments. Here everything goes by name, and what does not match is an error.
"""

from __future__ import annotations

from optimbuild.checkpoint.directory import load, save
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.loading import load_optimizer_state, resumable
from optimbuild.checkpoint.whole_state import optimizer_state

__all__ = ["LoadReport", "load", "load_optimizer_state", "optimizer_state", "resumable", "save"]
