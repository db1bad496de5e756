"""Layer-wise LR decay: the further a layer is from the top, the lower its learning rate."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag

from optimbuild.edits import Edit, Edits
from optimbuild.messages import listing
from optimbuild.model import Inventory, ParamInfo
from optimbuild.model.depths import Depths
from optimbuild.model.depths.from_hints import Part, depths_of, idle_keywords, outside, parts
from optimbuild.model.depths.from_names import from_names
from optimbuild.model.depths.from_patterns import from_patterns
from optimbuild.model.keywords import first_keywords, keyword_in
from optimbuild.model.patterns import PatternText
from optimbuild.registry import rule
from optimbuild.values import Ratio, Share

TIMMS_OWN = "timm itself would give other scales: without a group_matcher it takes every 12 tensors as one layer"
"""The note for models of timm whose depths come from names; see ``auto_group_layers`` in timm."""


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
    ``get_layer_depth(name)`` (MMPretrain), then ``group_matcher`` (timm). Every module may have these
    methods: the nearest one above a parameter answers, and what lies outside of all of them keeps the full LR.
    A model without any has its depths inferred from numbered names, and an ambiguous one is an error. The plan says
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

    def bind(self, model: Inventory) -> Edits:
        """Find every parameter's distance from the top."""
        edits = Edits(model)
        found = parts(model) if self.layers == "auto" else []
        for part in found:
            if part.hook == "lr_decay_keywords":
                self._give_by_keywords(edits, part)
            else:
                self._give(edits, depths_of(part))
        if not found:
            self._give(edits, from_names(model) if self.layers == "auto" else from_patterns(model, self.layers))
            if self.layers == "auto" and "timm" in model.packages:
                edits.note(TIMMS_OWN)
        if any(part.prefix for part in found):
            edits.note("modules inside the model tell their depths since 0.2; before, only the model itself was asked")
        if not found and self.layers == "auto":
            edits.note("at the full LR since 0.2, because nothing places it", about=edits.rest())
        whole = not found or any(not part.prefix for part in found)
        if whole and edits:
            edits.warn("no layer claims these parameters, so they keep the full LR", about=edits.rest())
        elif found and (rest := outside(model, found)):
            text = f"outside of {listing([part.hints.of for part in found])}, at the full LR: {listing(rest)}"
            (edits.note if len(rest) < len(model.trainable) / 2 else edits.warn)(text)
        return edits

    def _give(self, edits: Edits, depths: Depths) -> None:
        for option, text, params in depths.patterns:
            edits.ask(option, text, params, taken_by=depths.taken.get(option, ()))
        for layer, members in sorted(depths.members(edits.model.params).items()):
            distance = depths.layers - 1 - layer
            factor = max(self.ratio**distance, self.min_scale)
            why = f"layer {layer} of {depths.layers}, {distance} from the top"
            edits.give(members, Edit(scale={"lr": factor}, why=why))
        edits.note(f"depths from {depths.source}")

    def _give_by_keywords(self, edits: Edits, part: Part) -> None:
        """Take the factors as a module gives them: the first keyword that is a piece of the name counts."""
        recorded = repr(self.ratio) in part.hints.answers.get("lr_decay_keywords", {})
        factors = part.hints.lr_decay_keywords(self.ratio)
        found = first_keywords(part.own_names, factors)
        members: dict[str, list[ParamInfo]] = {keyword: [] for keyword in factors}
        for param, keyword in zip(part.params, found, strict=True):
            if keyword is None and param.aliases:
                aliases = [name.removeprefix(part.prefix) for name in param.aliases if name.startswith(part.prefix)]
                keyword = next(filter(None, [keyword_in(alias, factors) for alias in aliases]), None)
            if keyword is not None:
                members[keyword].append(param)
        for keyword, params in members.items():
            why = f"lr_decay_keywords gives {keyword!r}: {factors[keyword]}"
            edits.give(params, Edit(scale={"lr": max(factors[keyword], self.min_scale)}, why=why))
        known = recorded or repr(self.ratio) in part.hints.answers["lr_decay_keywords"]
        derived = "" if known else ", by the powers it gave for another"
        edits.note(f"depths from {part.hints.of}'s lr_decay_keywords({self.ratio}){derived}")
        if idle := idle_keywords(part, [keyword for keyword, params in members.items() if not params]):
            edits.note(f"lr_decay_keywords of {part.hints.of} gives keywords that match nothing: {listing(idle)}")
