"""A module or an inventory file, read into an :class:`~optimbuild.model.inventory.Inventory`."""

from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

__all__ = ["Inventory", "ParamInfo"]
