"""Named parameter groups in a fixed order, for hooks that count groups."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from functools import lru_cache
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from optimbuild.edits import Edit, Edits
from optimbuild.errors import ModelError
from optimbuild.messages import closest, listing, shown
from optimbuild.model import Inventory, ParamInfo
from optimbuild.registry import rule
from optimbuild.values import Keyword, NonNegative, Switch


class Group(BaseModel):
    """One group: its name, and what its parameters get. Any option of the optimizer may stand beside."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)

    name: Keyword
    """The group's name."""
    lr_mult: NonNegative = 1.0
    """A factor for the learning rate."""
    decay_mult: NonNegative = 1.0
    """A factor for the weight decay."""
    because: str = ""
    """The reason for its options, for explanations."""

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        for key in self.model_extra or {}:
            if close := closest(key, Group.model_fields, n=1, cutoff=0.8):
                raise ValueError(f"unknown key {shown(key)}. Did you mean {close[0]!r}?")
        return self

    def edit(self, why: str) -> Edit:
        """Return what the parameters of the group get."""
        factors = {"lr": self.lr_mult, "weight_decay": self.decay_mult}
        scale = {option: factor for option, factor in factors.items() if factor != 1.0}
        reason = f"{why}; {self.because}" if self.because else why
        return Edit(set=dict(self.model_extra or {}), scale=scale, group=self.name, why=reason)


class Members(BaseModel):
    """Which parameters go into a group: all that are given must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    group: Keyword
    """The name of the group."""
    params: tuple[Keyword, ...] = ()
    """What its module calls a parameter, such as ``weight``: the last piece of its name, letter by letter."""
    classes: tuple[Keyword, ...] = ()
    """Classes of the module, by their own name or that of a ``torch.nn`` class that they derive from. ``torch.nn.NAME``
    is that class of torch and what derives from it, and no other class of the same name."""
    no_classes: tuple[Keyword, ...] = ()
    """Classes that the module must not be of."""
    pick: Literal["all", "of_first_module", "last"] = "all"
    """All of them; those of the first module of these classes; or the last one that is left. In model order."""

    needed: Switch = False
    """Refuse a model without any."""

    def selected(self, model: Inventory, left: Container[str]) -> list[ParamInfo]:
        """Return the parameters that these are.

        Args:
            model: The model.
            left: The names of the parameters that no earlier entry took.
        """
        of_classes = [param for param in model if self._is_of_class(param)]
        if self.pick == "of_first_module" and of_classes:
            first = _module(of_classes[0])
            of_classes = [param for param in of_classes if _module(param) == first]
        called = [param for param in of_classes if not self.params or _is_called(param, self.params)]
        found = [param for param in called if param.name in left]
        return found[-1:] if self.pick == "last" else found

    def _is_of_class(self, param: ParamInfo) -> bool:
        classes = _classes(param.owner, param.bases)
        return (not self.classes or not classes.isdisjoint(self.classes)) and classes.isdisjoint(self.no_classes)

    @property
    def label(self) -> str:
        """The members in words."""
        parts = [f"called {' or '.join(self.params)}"] * bool(self.params)
        parts += [f"of {listing(self.classes, 4)}"] * bool(self.classes)
        parts += [f"not of {listing(self.no_classes, 4)}"] * bool(self.no_classes)
        parts += {"all": [], "of_first_module": ["of the first such module"], "last": ["the last one"]}[self.pick]
        return ", ".join(parts) or "all others"


@lru_cache(maxsize=4096)
def _classes(owner: str, bases: tuple[str, ...]) -> frozenset[str]:
    """Return the names by which an entry may mean the class of a module."""
    return frozenset((owner, *bases, *[f"torch.nn.{base}" for base in bases]))


def _is_called(param: ParamInfo, names: Collection[str]) -> bool:
    """Say whether modules call a parameter by one of some names, under any of its own."""
    return any(name.rpartition(".")[2] in names for name in param.names)


@rule("groups")
class Groups:
    """Make named groups in a fixed order, and let every one of them exist, also where no parameter is in it.

    Elsewhere equal settings share a group, in first-seen order. Where a hook counts on the number or the order of the
    groups, as that of YOLOv5 does, which warms up the third one, this rule says what they are.

    Example:
        ``{type: groups, order: [{name: weights}, {name: biases, weight_decay: 0.0}],
        members: [{group: biases, params: [bias]}, {group: weights}]}``
    """

    order: Annotated[tuple[Group, ...], Field(min_length=1)]
    """The groups, in the order that the optimizer gets."""
    members: Annotated[tuple[Members, ...], Field(min_length=1)]
    """What goes where; the first entry that a parameter fits counts."""
    rest: Literal["keep", "freeze"] = "keep"
    """What becomes of a parameter that no entry takes: it stays as it is, in a group behind; or it is frozen."""
    refuse_other_modules: Switch = False
    """Refuse a model with a module of which no entry takes a parameter, and that has no modules inside; and one with a
    module of which an entry takes a parameter, and that has others with parameters inside."""

    def __post_init__(self) -> None:
        names = [group.name for group in self.order]
        for i, members in enumerate(self.members):
            if members.group not in names:
                raise ValueError(f"members[{i}] is of the group {members.group!r}, which is not in `order`")
        if len(set(names)) < len(names):
            raise ValueError(f"a group is in `order` twice: {listing(names)}")

    def bind(self, model: Inventory) -> Edits:
        """Find each parameter's group.

        Raises:
            ModelError: A ``needed`` entry finds nothing, or the model has what ``refuse_other_modules`` refuses.
        """
        edits, groups = Edits(model), {group.name: group for group in self.order}
        left = {param.name: param for param in model}
        for members in self.members:
            found = members.selected(model, left)
            if members.needed and not found:
                raise ModelError(
                    f"{model.model or 'the model'} has no parameter for the group {members.group!r}: {members.label}"
                )
            edits.give(found, groups[members.group].edit(f"{members.label}: group {members.group!r}"))
            taken = {param.name for param in found}
            left = {name: param for name, param in left.items() if name not in taken}
        edits.order_groups({group.name: group.edit("an empty group") for group in self.order})
        edits.note_shared("a constructor that walks through modules hands it over once for each")
        edits.note(f"the groups are, in this order: {listing([group.name for group in self.order], 20)}")
        if self.refuse_other_modules:
            _refuse_modules(model, left)
        if self.rest == "freeze":
            edits.give(left.values(), Edit(freeze=True, why="no group takes it"))
            modules = {_module(param) for param in left.values()}
            edits.release_statistics([module for module in model.statistics if module in modules])
            if trained := [param.name for param in left.values() if param.trainable]:
                edits.warn(f"no group takes these parameters, so they are frozen: {listing(trained)}")
        return edits


def _module(param: ParamInfo) -> str:
    return param.name.rpartition(".")[0]


def _refuse_modules(model: Inventory, left: Mapping[str, ParamInfo]) -> None:
    """Raise a ModelError for a leaf that no group takes, or for a module that one takes and that is no leaf.

    Args:
        model: The model.
        left: The parameters that no group takes, by name.
    """
    names = [name for param in model for name in param.names]
    modules = {name[:at] for name in names for at, letter in enumerate(name) if letter == "."}
    parents = {module.rpartition(".")[0] for module in modules}
    above = parents | {module.rpartition(".")[0] for module in model.bare}
    leaves = [param for param in left.values() if _module(param) not in above]
    if leaves:
        raise ModelError(
            f"the groups have no place for the parameters of a {leaves[0].owner}: "
            f"{listing([param.name for param in leaves], 5)}"
        )
    if nested := [param for param in model if param.name not in left and _module(param) in parents]:
        raise ModelError(
            f"the groups take the parameters of a {nested[0].owner}, and are not for one with further modules inside: "
            f"{listing([param.name for param in nested], 5)}"
        )
