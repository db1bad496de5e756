"""What the makers of a model wrote on its tensors."""

from __future__ import annotations

from optimbuild.edits import Edit, Edits
from optimbuild.errors import ConfigError
from optimbuild.messages import shown
from optimbuild.model import Inventory
from optimbuild.model.marks import OPTIONS
from optimbuild.registry import rule


@rule("marks")
class Marks:
    """Set the options that makers of a model wrote on its tensors as ``_optim``.

    The convention of S4 and Hyena: ``tensor._optim = {"lr": 1e-3, "weight_decay": 0.0}``. The options are set as
    they are; put the rule behind those that it shall win over. Tensors marked ``_no_weight_decay`` (Mamba) are read
    by ``no_decay``.

    Example:
        ``{type: marks}``
    """

    def bind(self, model: Inventory) -> Edits:
        """Find the marked tensors.

        Raises:
            ConfigError: A mark is no mapping of options.
        """
        edits = Edits(model)
        edits.reads(OPTIONS)
        for param in model:
            options = param.marks.get(OPTIONS)
            if options is None:
                continue
            if not isinstance(options, dict):
                found = options if isinstance(options, str) else shown(options)
                raise ConfigError(
                    f"{param.name} is marked with {OPTIONS} = {found}, which is no mapping of options to plain data"
                )
            given = {key: value for key, value in options.items() if value is not None}
            edits.give([param], Edit(set=given, why=f"its mark {OPTIONS}"))
        return edits
