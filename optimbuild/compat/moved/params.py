"""Moved to :mod:`optimbuild.model`."""

from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

__all__ = ["Inventory", "ParamInfo"]
