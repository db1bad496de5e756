"""Plots of a plan: LR and weight decay over the depth of a model, and the LR over the steps of a schedule."""

from optimbuild.plot.config_schedule import schedule_of_config
from optimbuild.plot.figure import save_plot
from optimbuild.plot.schedules import Schedule, named_schedule

__all__ = ["Schedule", "named_schedule", "save_plot", "schedule_of_config"]
