"""Layer-wise LR decay: the further a layer is from the top, the lower its learning rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag

from optimbuild.edits import Bound, Edit
from optimbuild.messages import listing
from optimbuild.model._columns import Column
from optimbuild.model.inventory import Inventory
from optimbuild.model.keywords import first_keywords, keyword_in
from optimbuild.model.param_info import ParamInfo
from optimbuild.model.patterns import PatternText
from optimbuild.registry import rule
from optimbuild.rules.depths import Depths, by_group_matcher, by_hand, by_layer_depth
from optimbuild.rules.inferred_depths import by_names
from optimbuild.values import Ratio, Share


def _is_list(value: Any) -> str:
    return "list" if isinstance(value, (list, tuple)) else "one"


Layer = Annotated[
    Annotated[PatternText, Tag("one")] | Annotated[tuple[PatternText, ...], Tag("list")], Discriminator(_is_list)
]
Layers = Annotated[
    Annotated[Literal["auto"], Tag("one")] | Annotated[tuple[Layer, ...], Tag("list")], Discriminator(_is_list)
]


def _auto_or_list(layers: Any) -> Any:
    if layers != "auto" and not (isinstance(layers, (list, tuple)) and layers and all(map(_is_claim, layers))):
        raise ValueError('must be "auto", or a list of layers from input to output')
    return layers


def _is_claim(layer: Any) -> bool:
    return not isinstance(layer, (list, tuple)) or bool(layer)


@rule("layer_decay")
class LayerDecay:
    """Multiply the learning rate by ``ratio`` to the power of the distance from the top.

    Layer-wise LR decay as in ELECTRA (Clark et al., 2020) and BEiT (Bao et al., 2022). With
    ``layers: auto`` the model is asked for ``lr_decay_keywords(ratio)`` (InternImage), then
    ``get_layer_depth(name)`` (MMPretrain), then ``group_matcher`` (timm); a model with none of them
    has its depths inferred from numbered names, and an ambiguous one is an error. The plan says
    where the depths came from, and warns of parameters that no layer claims: they keep the full LR.

    Example:
        ``{type: layer_decay, ratio: 0.75, layers: [[cls_token, pos_embed, patch_embed], "blocks.{n}", [norm, head]]}``
    """

    ratio: Ratio
    """LR factor from one layer to the next one towards the input, in (0, 1]."""
    layers: Annotated[Layers, BeforeValidator(_auto_or_list)] = "auto"
    """``auto``, or the layers from input to output: each a pattern, a pattern with ``{n}`` for the
    index of a numbered module, or a list of patterns that share one layer."""
    min_scale: Share = 0.0
    """The lowest factor that any layer gets, in [0, 1]."""

    def bind(self, inventory: Inventory) -> Callable[[ParamInfo], Edit | None]:
        """Find every parameter's distance from the top."""
        if self.layers == "auto" and inventory.hooks.offers("lr_decay_keywords"):
            return self._by_keywords(inventory)
        depths = self._depths(inventory)
        by_layer = [self._edit(layer, depths.layers) for layer in range(depths.layers)]
        edits = Column(inventory.names, depths.layer_of.numbers, [None, *by_layer])
        return self._bound(edits, depths.source, depths.patterns)

    def _depths(self, inventory: Inventory) -> Depths:
        if self.layers != "auto":
            return by_hand(inventory, self.layers)
        if inventory.hooks.offers("get_layer_depth"):
            return by_layer_depth(inventory)
        if inventory.hooks.offers("group_matcher"):
            return by_group_matcher(inventory)
        return by_names(inventory)

    def _edit(self, layer: int, layers: int) -> Edit:
        distance = layers - 1 - layer
        factor = max(self.ratio**distance, self.min_scale)
        return Edit(scale={"lr": factor}, why=f"layer {layer} of {layers}, {distance} from the top")

    def _by_keywords(self, inventory: Inventory) -> Bound:
        """Take the factors as the model gives them: the first keyword that is a piece of the name counts."""
        by_keyword = {
            keyword: Edit(
                scale={"lr": max(factor, self.min_scale)}, why=f"lr_decay_keywords gives {keyword!r}: {factor}"
            )
            for keyword, factor in inventory.hooks.lr_decay_keywords(self.ratio).items()
        }
        found = first_keywords(inventory.names, by_keyword)
        if any(inventory.columns.aliases):
            found = [
                keyword or next(filter(None, [keyword_in(alias, by_keyword) for alias in aliases]), None)
                for keyword, aliases in zip(found, inventory.columns.aliases, strict=True)
            ]
        number = {keyword: place for place, keyword in enumerate([None, *by_keyword])}
        edits = Column(inventory.names, list(map(number.__getitem__, found)), [None, *by_keyword.values()])
        asked = repr(self.ratio) in inventory.hooks.answers["lr_decay_keywords"]
        derived = "" if asked else ", by the powers it gave for another"
        return self._bound(edits, f"the model's lr_decay_keywords({self.ratio}){derived}")

    def _bound(
        self, edits: Column[Edit], source: str, patterns: Sequence[tuple[str, str, Sequence[ParamInfo]]] = ()
    ) -> Bound:
        unclaimed = [name for name, number in zip(edits.names, edits.numbers, strict=True) if not number]
        warnings = [f"no layer claims these parameters, so they keep the full LR: {listing(unclaimed)}"]
        claims = len(unclaimed) < len(edits.numbers)
        return Bound(edits, patterns, warnings if unclaimed and claims else (), [f"depths from {source}"])
