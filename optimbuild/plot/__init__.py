"""Plots of a plan: LR and weight decay over the depth of a model, and the LR over the steps of a schedule."""

from optimbuild.plot.figure import save_plot
from optimbuild.plot.schedules import Schedule

__all__ = ["Schedule", "save_plot"]
