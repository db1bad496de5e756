"""Rules with one fault each; their docstrings say which. Importing this file registers them."""

from __future__ import annotations

import random
from dataclasses import field
from typing import Any, ClassVar

from optimbuild import RULES, Edit, Edits, Inventory, ParamInfo, rule
from optimbuild.values import Positive


def slower(why: str = "slower") -> Edit:
    return Edit(scale={"lr": 0.5}, why=why)


@rule("faultless")
class Faultless:
    """Has no fault.

    Example:
        ``{type: faultless, factor: 0.5}``
    """

    factor: Positive
    """A factor."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return Edit(scale={"lr": self.factor}, why="always")


@rule("random")
class Random:
    """Decides by chance."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower() if random.SystemRandom().random() < 0.5 else None


@rule("edits_its_input")
class EditsItsInput:
    """Writes into the marks of a parameter."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        if param.marks:
            param.marks["_optim"] = "read"  # type: ignore[index]
        return slower()


@rule("edits_its_options")
class EditsItsOptions:
    """Keeps notes in one of its options."""

    seen: list[str] = field(default_factory=list)
    """Names."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        self.seen.append(param.name)
        return slower()


@rule("seeds")
class Seeds:
    """Seeds the random numbers of the whole process."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        random.seed(0)
        return slower()


@rule("order_of_a_set")
class OrderOfASet:
    """Lists a set, whose order depends on the hashes of the process."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower(" ".join({f"piece{i}" for i in range(20)}))


@rule("only_on_cpu")
class OnlyOnCpu:
    """Asks what an inventory file does not know."""

    def bind(self, model: Inventory) -> Edits:
        edits = Edits(model)
        edits.give(model if model.on_cpu else model.params[:1], slower())
        return edits


@rule("undescribed")
class Undescribed:
    """Has an option without a docstring."""

    factor: float = 0.5

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower()


@rule("reserved_option")
class ReservedOption:
    """Has an option that is a key of every rule."""

    optional: bool = False
    """Never arrives."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower()


@rule("crashes_on_numbers")
class CrashesOnNumbers:
    """Takes it that every tensor has a dimension."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower() if param.shape[0] > 1 else None


@rule("returns_a_mapping")
class ReturnsAMapping:
    """Returns what is no Edit."""

    def __call__(self, param: ParamInfo) -> Any:
        return {"lr": 0.5}


@rule("no_reason")
class NoReason:
    """Does not say why."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower("")


@rule("unknown_to_optimizer")
class UnknownToOptimizer:
    """Sets an option that no optimizer has."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return Edit(set={"momentumm": 0.5}, why="misspelt")


@rule("no_round_trip")
class NoRoundTrip:
    """Changes its option each time that it is made."""

    percent: Positive = 50.0
    """A percentage."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "percent", self.percent / 100)

    def __call__(self, param: ParamInfo) -> Edit | None:
        return Edit(scale={"lr": self.percent}, why="percent")


@rule("remembers")
class Remembers:
    """Answers for a parameter only at the first time."""

    seen: ClassVar[set[tuple[str, tuple[int, ...]]]] = set()

    def __call__(self, param: ParamInfo) -> Edit | None:
        if (param.name, param.shape) in self.seen:
            return None
        self.seen.add((param.name, param.shape))
        return slower()


@rule("idle")
class Idle:
    """Is meant for a model that the kit does not have."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower() if "nowhere" in param.name else None


@RULES.register_module(name="plain_class")
class PlainClass:
    """Is registered plainly, so that its option is in no schema."""

    def __init__(self, factor: float = 0.5) -> None:
        self.factor = factor

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower()


@RULES.register_module(name="takes_anything")
class TakesAnything:
    """Takes options of any name."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __call__(self, param: ParamInfo) -> Edit | None:
        return slower()
