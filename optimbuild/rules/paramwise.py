"""MMEngine's ``paramwise_cfg``, read as MMEngine and MMPretrain read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from optimbuild.edits import Edit, Edits
from optimbuild.errors import ConfigError
from optimbuild.messages import listing
from optimbuild.model.inventory import Inventory
from optimbuild.model.keywords import keyword_in
from optimbuild.model.kinds import role_of
from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import rule
from optimbuild.rules.paramwise_causes import WHAT, Cause, Taker, Tally
from optimbuild.values import Keyword, NonNegative, Switch

NORMS = frozenset(
    f"{lazy}{norm}{dims}d" for lazy in ("", "Lazy") for norm in ("BatchNorm", "InstanceNorm") for dims in (1, 2, 3)
) | {"SyncBatchNorm", "_BatchNorm", "_InstanceNorm", "GroupNorm", "LayerNorm"}
"""What MMEngine calls a norm, by the classes of torch; an RMS norm is none of them."""

DEFORMABLE = frozenset({"DeformConv2d", "ModulatedDeformConv2d"})
"""The deformable convolutions of mmcv, the only ones that MMEngine knows."""


class CustomKey(BaseModel):
    """What the parameters get whose name contains a custom key."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    lr_mult: NonNegative = 1.0
    """A factor for the learning rate."""
    decay_mult: NonNegative = 1.0
    """A factor for the weight decay."""
    marks: Mapping[Keyword, Any] = Field(default_factory=dict)
    """Entries for their groups that the optimizer does not take, for a hook or a ``step`` that reads them there."""

    @property
    def extra(self) -> Mapping[str, Any]:
        """Options that are set as they are; ``lr`` and ``weight_decay`` here win over the factors."""
        return self.model_extra or {}


@dataclass
class _Wish:
    """What is wanted for one parameter, gathered cause by cause."""

    set: dict[str, Any] = field(default_factory=dict)
    scale: dict[str, float] = field(default_factory=dict)
    marks: dict[str, Any] = field(default_factory=dict)
    why: list[str] = field(default_factory=list)

    def scaled(self, option: str, factor: float, why: str) -> None:
        self.set.pop(option, None)
        self.scale[option] = factor
        self.why.append(why)

    def caused(self, causes: Sequence[Cause]) -> None:
        """Scale each option by the first cause for it, whatever was said of it before."""
        done = set[str]()
        for cause in causes:
            if cause.option not in done:
                done.add(cause.option)
                self.scaled(cause.option, cause.factor, f"{cause.what}: {cause.key}")


@dataclass(frozen=True)
class _Place:
    """A parameter in the terms in which MMEngine asks for it.

    Args:
        param: The parameter.
        module: The dotted name of the module that owns it.
        name: Its name in that module.
        bases: The ``torch.nn`` ancestors of that module's class. A parametrization, or a list of parameters, has none.
        in_deformable: Whether that module is a child of a deformable convolution.
    """

    param: ParamInfo
    module: str
    name: str
    bases: tuple[str, ...]
    in_deformable: bool

    @property
    def is_norm(self) -> bool:
        return not NORMS.isdisjoint(self.bases)

    @property
    def is_depthwise(self) -> bool:
        return "Conv2d" in self.bases and "depthwise" in self.param.kinds

    @property
    def is_offset(self) -> bool:
        return self.in_deformable and "conv_offset" in self.module and "Conv2d" in self.bases

    @property
    def dotted(self) -> str:
        """The name as MMEngine builds it: one of the root module itself begins with a dot."""
        return f"{self.module}.{self.name}"


def _places(inventory: Inventory) -> Iterator[_Place]:
    split = [param.name.rpartition(".") for param in inventory.params]
    bases = [
        () if param.container or role_of(param.name) != name else param.bases
        for param, (_, _, name) in zip(inventory.params, split, strict=True)
    ]
    deformable = {module for (module, _, _), own in zip(split, bases, strict=True) if not DEFORMABLE.isdisjoint(own)}
    for param, (module, _, name), own in zip(inventory.params, split, bases, strict=True):
        yield _Place(param, module, name, own, bool(module) and module.rpartition(".")[0] in deformable)


@rule("paramwise")
class Paramwise:
    """Apply the classic keys of MMEngine's ``paramwise_cfg`` with its exact meaning.

    The factors multiply the optimizer's ``lr`` and ``weight_decay``. A parameter whose name contains
    one of the ``custom_keys`` gets what that key says and nothing else; the longest key counts. With
    ``layer_decay_rate`` the keys are read as MMPretrain's constructor for layer-wise LR decay reads
    them: ``custom_keys`` change the weight decay only, and ``bias_lr_mult``, ``dwconv_decay_mult``
    and ``dcn_offset_lr_mult`` do nothing. Shared tensors are judged by their first name.

    Example:
        ``{type: paramwise, norm_decay_mult: 0.0, custom_keys: {backbone: {lr_mult: 0.1}}}``
    """

    custom_keys: Mapping[str, CustomKey] = field(default_factory=dict)
    """By a piece of the name: ``lr_mult``, ``decay_mult``, and any option that the optimizer takes. The name
    of a parameter of the root module begins with a dot, so ``.cls_token`` finds it there and anywhere."""
    bias_lr_mult: NonNegative | None = None
    """LR factor of biases, but for those of norms and of modules inside a deformable convolution."""
    bias_decay_mult: NonNegative | None = None
    """Weight decay factor of biases, but for those of norms and inside a deformable convolution."""
    norm_decay_mult: NonNegative | None = None
    """Weight decay factor of batch, instance, group and layer norms; of no other norm."""
    flat_decay_mult: NonNegative | None = None
    """Weight decay factor of tensors with exactly one dimension, where no other key applies."""
    dwconv_decay_mult: NonNegative | None = None
    """Weight decay factor of 2-d convolutions with one input channel a group, where none before applies."""
    dcn_offset_lr_mult: NonNegative | None = None
    """LR factor of the ``conv_offset`` of mmcv's deformable convolutions; wins over ``bias_lr_mult``."""
    bypass_duplicate: Switch = False
    """Accepted and without effect: shared tensors are always planned once."""
    force_default_settings: Switch = False
    """Let the other keys apply on top of ``custom_keys``, wherever they do: what they say about the LR or the weight
    decay of a parameter replaces what its custom key says (MMPose, MMSegmentation)."""
    layer_decay_rate: NonNegative | None = None
    """LR factor from one layer to the next one towards the input; asks the model's ``get_layer_depth(name)``."""

    def bind(self, model: Inventory) -> Edits:
        """Find each parameter's factors.

        Raises:
            ConfigError: ``layer_decay_rate`` is given and the model has no ``get_layer_depth(name)``.
        """
        if self.layer_decay_rate is not None and not model.hints.offers("get_layer_depth"):
            raise ConfigError(
                f"asks {model.model or 'the model'} for get_layer_depth(name), as MMPretrain's models answer it, "
                "and it has no such method. The rule layer_decay finds the depths otherwise, and no_decay before it "
                "leaves norms and biases without weight decay, as such recipes do: "
                f"rules=[dict(type='no_decay'), dict(type='layer_decay', ratio={self.layer_decay_rate})]",
                "layer_decay_rate",
            )
        edits, known, tally = Edits(model), dict[str, Edit](), Tally()
        if not self.bypass_duplicate:
            edits.note_shared("MMEngine refuses it unless bypass_duplicate is set")
        won: set[str] = set()
        for place in _places(model):
            key, causes = self._custom_key(place), self._causes(place)
            wanted = self._wish(key, causes)
            if self.layer_decay_rate is not None:
                layer, layers = model.hints.get_layer_depth(place.param.name)
                factor = self.layer_decay_rate ** (layers - layer - 1)
                wanted.scaled("lr", factor, f"layer {layer} of {layers}: layer_decay_rate")
            if key is not None:
                won.add(key)
            if place.param.trainable:
                tally.count(causes, None if key is None or self._overrules_custom_keys else self._taker(key))
            if wanted.why:
                edit = Edit(wanted.set, wanted.scale, marks=wanted.marks, why="; ".join(wanted.why))
                edits.give([place.param], known.setdefault(repr(wanted), edit))
        ignored = self._ignored()
        told = tally.warnings({key: f for key in WHAT if (f := getattr(self, key)) is not None and key not in ignored})
        idle = [f"{key} does nothing beside layer_decay_rate, as in MMPretrain" for key in ignored]
        for warning in [*self._idle_keys(model, won), *told, *idle]:
            edits.warn(warning)
        for note in tally.notes():
            edits.note(note)
        return edits

    @cached_property
    def _keys(self) -> list[str]:
        """The custom keys, the longest first and those of one length in alphabetical order."""
        return sorted(sorted(self.custom_keys), key=len, reverse=True)

    def _custom_key(self, place: _Place) -> str | None:
        return keyword_in(place.dotted if self.layer_decay_rate is None else place.param.name, self._keys)

    def _wish(self, key: str | None, causes: Sequence[Cause]) -> _Wish:
        """Return what the keys give: MMEngine's constructor, or beside layer-wise LR decay MMPretrain's."""
        wish, layered = _Wish(), self.layer_decay_rate is not None
        if key is not None:
            self._from_custom_key(wish, key, 1.0 if layered else self.custom_keys[key].lr_mult)
        if layered:
            wish.set.pop("lr", None)
        if key is None or self._overrules_custom_keys:
            wish.caused(causes)
        return wish

    @property
    def _overrules_custom_keys(self) -> bool:
        return self.force_default_settings and self.layer_decay_rate is None

    def _from_custom_key(self, wish: _Wish, key: str, lr_mult: float) -> None:
        custom = self.custom_keys[key]
        wish.set.update(custom.extra)
        wish.marks.update(custom.marks)
        for option, factor in (("lr", lr_mult), ("weight_decay", custom.decay_mult)):
            if factor != 1.0 and option not in custom.extra:
                wish.scale[option] = factor
        wish.why.append(f"name contains {key!r}: custom_keys")

    def _taker(self, key: str) -> Taker:
        """Return a custom key as what takes parameters before the general keys."""
        custom = self.custom_keys[key]
        factors = {"lr": custom.lr_mult, "weight_decay": custom.decay_mult}
        return Taker(f"custom_keys[{key!r}]", {k: f for k, f in factors.items() if k not in custom.extra})

    def _causes(self, place: _Place) -> list[Cause]:
        """Return the general keys that hold for a parameter, in MMEngine's order; for each option the first counts."""
        layered = self.layer_decay_rate is not None
        bias, inside = place.name == "bias", place.in_deformable and not layered
        flat = len(place.param.shape) == 1 and not inside
        holds = {
            "dcn_offset_lr_mult": not layered and place.is_offset,
            "bias_lr_mult": not layered and bias and not (place.is_norm or inside),
            "norm_decay_mult": place.is_norm,
            "bias_decay_mult": bias and not inside,
            "dwconv_decay_mult": not layered and place.is_depthwise,
            "flat_decay_mult": flat,
        }
        return [Cause(key, f) for key, given in holds.items() if given and (f := getattr(self, key)) is not None]

    def _idle_keys(self, inventory: Inventory, won: set[str]) -> list[str]:
        """Say which custom keys no parameter got; shared configs carry keys of several models."""
        names = [place.dotted if self.layer_decay_rate is None else place.param.name for place in _places(inventory)]
        warnings = []
        for key in self._keys:
            if key in won:
                continue
            takers = dict.fromkeys([keyword_in(name, self._keys) for name in names if key in name])
            reason = "no parameter's name contains it"
            if takers:
                listed = listing([f"custom_keys[{taker!r}]" for taker in takers], 3)
                reason = f"{listed} {'takes' if len(takers) == 1 else 'take'} every name that contains it"
            warnings.append(f"custom_keys[{key!r}] does nothing: {reason}")
        return warnings

    def _ignored(self) -> list[str]:
        """Return the keys that MMPretrain's constructor does not look at."""
        if self.layer_decay_rate is None:
            return []
        idle = [k for k in ("bias_lr_mult", "dwconv_decay_mult", "dcn_offset_lr_mult") if getattr(self, k) is not None]
        for key, custom in self.custom_keys.items():
            if custom.lr_mult != 1.0:
                idle.append(f"custom_keys[{key!r}].lr_mult")
            if "lr" in custom.extra:
                idle.append(f"custom_keys[{key!r}].lr")
        return idle
