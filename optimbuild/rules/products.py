"""LR and weight decay multiplied by the factors of all pieces that a name contains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from optimbuild.edits import Edit, Edits
from optimbuild.errors import ConfigError
from optimbuild.messages import listing, shown
from optimbuild.model import Inventory
from optimbuild.registry import rule
from optimbuild.values import Keyword, NonNegative, join, validated

FACTORS = {"lr_mult": "lr", "decay_mult": "weight_decay"}
"""By key of the table the option that it multiplies."""


@rule("products")
class Products:
    """Multiply the LR and the weight decay by the factors of all pieces that a name contains.

    No piece goes before another: the factors are multiplied in the order of the table, and their product multiplies
    the option. A name is searched with ``base.`` in front, so the piece ``base`` is in every one. This is how
    MMAction2 reads ``paramwise_cfg`` for Video Swin Transformers.

    Example:
        ``{type: products, table: {norm: {decay_mult: 0.0}, backbone: {lr_mult: 0.1}}}``
    """

    table: Annotated[Mapping[Keyword, Any], Field(min_length=1)]
    """By a piece of the name ``lr_mult`` and ``decay_mult``, which are 1 where they are not given. The first name of
    a shared tensor counts."""

    def bind(self, model: Inventory) -> Edits:
        """Find the pieces of each name.

        Raises:
            ConfigError: What is under a piece that a name contains is no mapping, or a factor is no number.
        """
        edits, made, used = Edits(model), dict[tuple[str, ...], Edit](), set[str]()
        for param in model:
            pieces = tuple([piece for piece in self.table if piece in f"base.{param.name}"])
            used.update(pieces)
            if pieces:
                if pieces not in made:
                    made[pieces] = self._edit(pieces)
                edits.give([param], made[pieces])
        if idle := [piece for piece in self.table if piece not in used]:
            edits.warn(f"these pieces are in no name, so they do nothing: {listing(idle)}")
        ignored = [
            f"{piece}.{key}"
            for piece, factors in self.table.items()
            for key in (factors if isinstance(factors, Mapping) and piece in used else ())
            if key not in FACTORS
        ]
        if ignored:
            edits.warn(f"only lr_mult and decay_mult are read, so these do nothing: {listing(ignored)}")
        edits.note_shared("MMAction2's constructor hands it over once for each module, which torch refuses")
        return edits

    def _edit(self, pieces: tuple[str, ...]) -> Edit:
        scale = {}
        for key, option in FACTORS.items():
            product, given = 1.0, False
            for piece in pieces:
                factors, path = self.table[piece], join("table", piece)
                if not isinstance(factors, Mapping):
                    raise ConfigError(f"must be a mapping with lr_mult, decay_mult or both, not {shown(factors)}", path)
                if key in factors:
                    product, given = product * validated(NonNegative, factors[key], join(path, key)), True
            if given:
                scale[option] = product
        return Edit(scale=scale, why=f"name contains {listing(pieces)}")
