"""What the published code of InternVL and InternImage does, where it departs from its documentation."""

from __future__ import annotations

from functools import lru_cache

from optimbuild.edits import Edit, Edits
from optimbuild.errors import ModelError
from optimbuild.messages import listing
from optimbuild.model.inventory import Inventory
from optimbuild.model.keywords import keyword_in
from optimbuild.registry import rule
from optimbuild.values import NonNegative


@rule("internvl_reference")
class InternVLReference:
    """Reproduce ``set_weight_decay_and_lr`` of InternVL and InternImage, its departures included.

    Tensors with exactly one dimension, names that end in ``.bias`` and what the model names get no
    weight decay (norms of several dimensions and scalars do). Names are matched by pieces, so level 1
    freezes level 10 too. Aliases are not looked at. Written by ``REFERENCE_QUIRKS: True``; for new
    runs take ``no_decay``, ``layer_decay`` and ``freeze``.

    Example:
        ``{type: internvl_reference, layer_decay_ratio: 0.9, freeze_levels: [0, 1]}``
    """

    layer_decay_ratio: NonNegative | None = None
    """Ask the model's ``lr_decay_keywords(ratio)`` for LR factors; null leaves layer decay off."""
    freeze_levels: tuple[int, ...] = ()
    """Freeze names that contain ``levels.i``."""
    no_decay_names: tuple[str, ...] | None = None
    """Names without weight decay; null asks the model's ``no_weight_decay()``."""
    no_decay_keywords: tuple[str, ...] | None = None
    """Pieces of names without weight decay; null asks the model's ``no_weight_decay_keywords()``."""

    def bind(self, model: Inventory) -> Edits:
        """Ask the model for what the published code asks it."""
        hints = model.hints
        if self.layer_decay_ratio is not None and not hints.offers("lr_decay_keywords"):
            raise ModelError(
                "the published code needs lr_decay_keywords(ratio) of the model for layer decay, and it has none. "
                "Without REFERENCE_QUIRKS the rule layer_decay finds the depths otherwise."
            )
        names = hints.no_weight_decay() if self.no_decay_names is None else frozenset(self.no_decay_names)
        keywords = hints.no_weight_decay_keywords() if self.no_decay_keywords is None else self.no_decay_keywords
        factors = {} if self.layer_decay_ratio is None else hints.lr_decay_keywords(self.layer_decay_ratio)
        levels = [f"levels.{level}" for level in self.freeze_levels]

        edits = Edits(model)
        for param in model:
            name = param.name
            bare = len(param.shape) == 1 or name.endswith(".bias")
            spared = bare or name in names or keyword_in(name, keywords) is not None
            keyword = keyword_in(name, factors)
            factor = 1.0 if keyword is None else factors[keyword]
            edits.give([param], _edit(spared, factor, keyword_in(name, levels) is not None))
        edits.release_statistics(model.statistics)
        if moving := [module for module in model.statistics if keyword_in(f"{module}.", levels) is not None]:
            edits.warn(f"running statistics go on changing, as published: {listing(moving)}")
        return edits


@lru_cache(maxsize=4096)
def _edit(spared: bool, factor: float, frozen: bool) -> Edit:
    why = [f"LR factor {factor}"] * (factor != 1.0) + ["no weight decay"] * spared + ["frozen level"] * frozen
    return Edit(
        set={"weight_decay": 0.0} if spared else {},
        scale={"lr": factor},
        freeze=frozen,
        why=f"published code: {', '.join(why) or 'nothing special'}",
    )
