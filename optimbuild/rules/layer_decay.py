"""Layer-wise LR decay: the further a layer is from the top, the lower its learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from optimbuild.edits import Edit, Edits
from optimbuild.errors import ConfigError
from optimbuild.messages import listing, shown, suggest
from optimbuild.model import Inventory, ParamInfo
from optimbuild.model.depths import Depths
from optimbuild.model.depths.from_hints import Part, depths_of, idle_keywords, outside, parts
from optimbuild.model.depths.from_names import from_names
from optimbuild.model.depths.from_patterns import from_patterns
from optimbuild.model.depths.from_tables import from_table, refuse_unread, table_for
from optimbuild.model.depths.internimage_levels import PLACES, blocks_of_levels, placed_otherwise
from optimbuild.model.depths.tables import TABLES
from optimbuild.model.keywords import first_keywords, keyword_in
from optimbuild.model.patterns import Pattern, PatternText
from optimbuild.registry import rule
from optimbuild.values import Index, Keyword, NonNegative, Ratio, Share

TIMMS_OWN = "timm itself would give other scales: without a group_matcher it takes every 12 tensors as one layer"
"""The note for models of timm whose depths come from names; see ``auto_group_layers`` in timm."""


class Factor(BaseModel):
    """A further factor, which multiplies that of the layer before it meets the learning rate."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    factor: NonNegative
    """The factor."""
    pattern: PatternText | None = None
    """The names that it is for; by default all."""
    only: Literal["below_top", "at_top"] | None = None
    """Only for layers below the top, or only for the layer at the top."""
    unless: Literal["below_top", "at_top"] | None = None
    """Not for these."""

    def fits(self, name: str, distance: int) -> bool:
        """Say whether the factor is for a parameter, by its name and the distance of its layer from the top."""
        where = "at_top" if distance == 0 else "below_top" if distance > 0 else "above_top"
        if self.only not in (None, where) or self.unless == where:
            return False
        return self.pattern is None or Pattern(self.pattern).matches(name)


def _is_list(value: Any) -> str:
    return "list" if isinstance(value, (list, tuple)) else "tables" if isinstance(value, Mapping) else "one"


def _is_table(name: str) -> str:
    if name not in TABLES:
        raise ValueError(f"there is no table {shown(name)}.{suggest(name, TABLES)} There are: {', '.join(TABLES)}")
    return name


TableName = Annotated[str, AfterValidator(_is_table)]


Layer = Annotated[
    Annotated[PatternText, Tag("one")] | Annotated[tuple[PatternText, ...], Tag("list")], Discriminator(_is_list)
]
Layers = Annotated[
    Annotated[str, Tag("one")]
    | Annotated[tuple[Layer, ...], Tag("list")]
    | Annotated[Mapping[Keyword, TableName], Tag("tables")],
    Discriminator(_is_list),
]


def _auto_or_list(layers: Any) -> Any:
    is_given = isinstance(layers, (str, Mapping)) or (isinstance(layers, (list, tuple)) and all(map(_is_claim, layers)))
    if not is_given or not layers:
        raise ValueError('must be "auto", or a list of layers from input to output, or the name of a table')
    if isinstance(layers, str) and layers != "auto" and layers not in TABLES:
        hint = f"{suggest(layers, TABLES)} The tables are: {', '.join(TABLES)}"
        raise ValueError(f'must be "auto", or a list of layers from input to output, or the name of a table.{hint}')
    return layers


def _is_claim(layer: Any) -> bool:
    return not isinstance(layer, (list, tuple)) or bool(layer)


def _from_names(edits: Edits) -> Depths:
    """Return the depths that names tell, with a note on where a model with InternImage's levels has others itself."""
    blocks = blocks_of_levels(edits.model)
    own = f"`layers: internimage` with `depths: {list(blocks)}`"
    try:
        depths = from_names(edits.model)
    except ConfigError as error:
        if not blocks:
            raise
        told = f"{error.message}\nInternImage's own projects have the layers of {own}."
        raise ConfigError(told, error.path) from None
    if blocks:
        others = placed_otherwise(edits.model, depths, blocks)
        edits.note(f"InternImage's own projects, which have the layers of {own}, place these in another layer", others)
    return depths


@rule("layer_decay")
class LayerDecay:
    """Multiply the learning rate by ``ratio`` to the power of the distance from the top.

    Layer-wise LR decay as in ELECTRA (Clark et al., 2020) and BEiT (Bao et al., 2022). With
    ``layers: auto`` the model is asked for ``lr_decay_keywords(ratio)`` (InternImage), then
    ``get_layer_depth(name)`` (MMPretrain), then ``group_matcher`` (timm). Every module may have these
    methods: the nearest one above a parameter answers, and what lies outside of all of them keeps the full LR.
    A model without any has its depths inferred from numbered names, and an ambiguous one is an error. A tower
    that is frozen, such as a teacher, is none, also where another rule of the config freezes it; other parameters that
    the config freezes count as layers. The plan says where the depths came from, and warns of parameters that no layer
    claims: they keep the full LR. A table, such as ``layers: internimage`` with ``depths: [4, 4, 18, 4]``, gives the
    layers as a published project does.

    Example:
        ``{type: layer_decay, ratio: 0.75, layers: [[cls_token, pos_embed, patch_embed], "blocks.{n}", [norm, head]]}``
    """

    ratio: Ratio
    """LR factor from one layer to the next one towards the input, in (0, 1]."""
    layers: Annotated[Layers, BeforeValidator(_auto_or_list)] = "auto"
    """``auto``, or the layers from input to output: each a pattern, a pattern with ``{n}`` for the
    index of a numbered module, or a list of patterns that share one layer: all with ``{n}``, or all without. Or a table
    of a published project:
    ``beit``, ``convnext``, ``convnext_stages``, ``internimage``, ``internvit``, ``mvit``, ``swin`` or ``vit``; or such
    tables by a piece of the class name of the model's ``backbone``."""
    depths: Annotated[tuple[Index, ...], Field(min_length=1)] | None = None
    """The number of blocks in each stage, for the tables ``internimage`` and ``swin``."""
    num_layers: Index | None = None
    """The number of layers below the top, for a table; by default the sum of ``depths``. It is believed."""
    below: Annotated[tuple[str, ...], Field(min_length=1)] = PLACES
    """Modules in which the backbone of a table may be, the first that the model has; ``""`` is the model itself."""
    factors: tuple[Factor, ...] = ()
    """Further factors, each of which multiplies that of the layer where it fits. For tables."""
    min_scale: Share = 0.0
    """The lowest factor that any layer gets, in [0, 1]."""

    after_freezing: ClassVar[bool] = True
    """A tower that other rules freeze has no layers."""

    def __post_init__(self) -> None:
        has_table = isinstance(self.layers, Mapping) or self.layers in TABLES
        of_tables = {"depths": None, "num_layers": None, "below": PLACES, "factors": ()}
        idle = [key for key, default in of_tables.items() if getattr(self, key) != default]
        if idle and not has_table:
            raise ValueError(f"{idle[0]} needs a table: `layers` must be one of {', '.join(TABLES)}")

    def bind(self, model: Inventory) -> Edits:
        """Find every parameter's distance from the top."""
        edits = Edits(model)
        if isinstance(self.layers, Mapping):
            return self._by_table(edits, table_for(model, self.layers))
        if self.layers in TABLES:
            return self._by_table(edits, str(self.layers))
        found = parts(model) if self.layers == "auto" else []
        for part in found:
            if part.hook == "lr_decay_keywords":
                self._give_by_keywords(edits, part)
            else:
                self._give(edits, depths_of(part))
        if not found:
            patterns = self.layers if isinstance(self.layers, tuple) else ()
            self._give(edits, from_patterns(model, patterns) if patterns else _from_names(edits))
            if self.layers == "auto" and "timm" in model.packages:
                edits.note(TIMMS_OWN)
        if any(part.prefix for part in found):
            edits.note("modules inside the model tell their depths since 0.2; before, only the model itself was asked")
        whole = not found or any(not part.prefix for part in found)
        if whole and edits:
            since = " (since 0.2; before, that of the first layer)" if self.layers == "auto" and not found else ""
            edits.warn(f"no layer claims these parameters, so they keep the full LR{since}", about=edits.rest())
        elif found and (rest := outside(model, found)):
            text = f"outside of {listing([part.hints.of for part in found])}, at the full LR"
            (edits.note if len(rest) < len(model.trained) / 2 else edits.warn)(text, about=rest)
        return edits

    def _give(self, edits: Edits, depths: Depths) -> None:
        for option, text, params in depths.patterns:
            edits.ask(option, text, params, by_name=True, taken_by=depths.taken.get(option, ()))
        for layer, members in sorted(depths.members(edits.model.params).items()):
            distance = depths.layers - 1 - layer
            factor = max(self.ratio**distance, self.min_scale)
            why = f"layer {layer} of {depths.layers}, {distance} from the top"
            edits.give(members, Edit(scale={"lr": factor}, why=why))
        edits.note(f"depths from {depths.source}")

    def _by_table(self, edits: Edits, table: str) -> Edits:
        """Take the layers of a published project, by the first name of each parameter."""
        refuse_unread(edits.model, table, self.below)
        depths = from_table(edits.model, table, self.depths, self.num_layers, self.below)
        made: dict[tuple[int, tuple[int, ...]], Edit] = {}
        for param in edits.model:
            distance = depths.layers - 1 - depths.layer_of[param.name]
            further = tuple([i for i, factor in enumerate(self.factors) if factor.fits(param.name, distance)])
            if (distance, further) not in made:
                made[distance, further] = self._edit_of_table(depths, distance, further)
            edits.give([param], made[distance, further])
        for option, text, params in depths.patterns:
            edits.ask(option, text, params, "Its names are those of another model, or `below` is.")
            if not params:
                edits.warn(f"{text} is about no name of the backbone, so all of it keeps the full LR, as the head does")
        edits.note(f"depths from {depths.source}")
        return edits

    def _edit_of_table(self, depths: Depths, distance: int, further: tuple[int, ...]) -> Edit:
        factor, why = _power(self.ratio, distance), f"layer {depths.layers - 1 - distance} of {depths.layers}"
        why += f", {distance} from the top" if distance >= 0 else f", {-distance} above the top"
        for i in further:
            factor *= self.factors[i].factor
            why += f", x {self.factors[i].factor}"
            why += "" if self.factors[i].pattern is None else f" (name matches {self.factors[i].pattern!r})"
        return Edit(scale={"lr": max(factor, self.min_scale)}, why=why)

    def _give_by_keywords(self, edits: Edits, part: Part) -> None:
        """Take the factors as a module gives them: the first keyword that is a piece of the name counts."""
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
            why = f"lr_decay_keywords gives {keyword!r}: {factors[keyword]:.4g}"
            edits.give(params, Edit(scale={"lr": max(factors[keyword], self.min_scale)}, why=why))
        known = repr(self.ratio) in part.hints.answers["lr_decay_keywords"]
        derived = "" if known else ", by the powers it gave for another"
        edits.note(f"depths from {part.hints.of}'s lr_decay_keywords({self.ratio}){derived}")
        if idle := idle_keywords(part, [keyword for keyword, params in members.items() if not params]):
            edits.note(f"lr_decay_keywords of {part.hints.of} gives keywords that match nothing: {listing(idle)}")


def _power(ratio: float, distance: int) -> float:
    """Return a power of a ratio.

    Raises:
        ConfigError: It is more than any number.
    """
    try:
        return float(ratio**distance)
    except OverflowError:
        raise ConfigError(
            f"places a layer {-distance} above the top, where the factor is no number", "num_layers"
        ) from None
