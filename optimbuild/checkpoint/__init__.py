"""Optimizer state by parameter name: saved, read from any layout, and matched to the optimizer that resumes.

PyTorch keeps state by position, so after a parameter was frozen, added or regrouped, others silently resume
with its moments. Here all state has names, and what does not match is an error.
"""

from __future__ import annotations

from optimbuild.checkpoint.deepspeed_source import deepspeed_state
from optimbuild.checkpoint.load_directory import load
from optimbuild.checkpoint.load_report import LoadReport
from optimbuild.checkpoint.load_state_dict import resumable
from optimbuild.checkpoint.loading import load_optimizer_state
from optimbuild.checkpoint.save_directory import save
from optimbuild.checkpoint.unnamed_groups import names_of
from optimbuild.checkpoint.whole_state import optimizer_state

__all__ = [
    "LoadReport",
    "deepspeed_state",
    "load",
    "load_optimizer_state",
    "names_of",
    "optimizer_state",
    "resumable",
    "save",
]
