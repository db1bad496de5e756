"""What is wrong with a plan itself, whoever made it: weight decay on what should not shrink, and LRs of 0.

An audit tells these of the plan that an optimizer amounts to, and a check of the plan of a config; torch is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from optimbuild.auditing.finding import Answer, Finding, registering
from optimbuild.messages import counted, listing
from optimbuild.model.conventions import causes_not_to_decay, hinted_not_to_decay
from optimbuild.model.marks import OPTIONS
from optimbuild.model.never_decayed import is_never_decayed
from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.plan import Plan

SWITCHES = frozenset(("norm", "bias", "other_biases", "one_dimensional", "vectors", "marks"))
"""The switches of ``no_decay`` that are about a parameter itself."""


@dataclass(frozen=True)
class ExaminedPlan:
    """What a finding is looked for in.

    Args:
        plan: The plan.
    """

    plan: Plan

    def trained_with(self, is_so: Callable[[Mapping[str, object]], bool]) -> list[ParamInfo]:
        """Return the trained parameters whose options are so, in model order."""
        found = [not setting.frozen and is_so(setting.options or {}) for setting in self.plan.settings]
        return [param for param, i in zip(self.plan.inventory, self.plan.chosen, strict=True) if found[i]]

    @cached_property
    def decayed(self) -> Sequence[ParamInfo]:
        """The parameters that are decayed."""
        return self.trained_with(lambda options: bool(options.get("weight_decay")))

    @cached_property
    def not_to_decay(self) -> Mapping[str, Sequence[ParamInfo]]:
        """The decayed parameters that ``no_decay`` spares, by its first switch that does."""
        found: dict[str, list[ParamInfo]] = {}
        for (switch, _), params in causes_not_to_decay(self.decayed, SWITCHES).items():
            found.setdefault(switch, []).extend(params)
        return found

    @cached_property
    def others(self) -> Sequence[ParamInfo]:
        """The decayed parameters that nothing in themselves speaks against decaying."""
        spared = {param.name for params in self.not_to_decay.values() for param in params}
        return [param for param in self.decayed if param.name not in spared]


PlanFind = Callable[[ExaminedPlan], Iterator[Answer]]

PLAN_FINDINGS: dict[str, PlanFind] = {}
"""By id what finds it, in the order of a report."""


plan_finding = registering(PLAN_FINDINGS)
"""Registers a function that finds something in a plan, by its id."""


def plan_findings(plan: Plan) -> list[Finding]:
    """Return what is wrong with a plan, or at least should be known.

    Args:
        plan: The plan.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
    >>> plan = make_plan({"optimizer": {"type": "adamw", "lr": 0.1, "weight_decay": 0.01}}, model)
    >>> print(*plan_findings(plan))
    decay-on-bias: weight decay on 1 parameter, biases: fc.bias
    """
    examined = ExaminedPlan(plan)
    return [Finding(id_, told, tuple(names)) for id_, find in PLAN_FINDINGS.items() for told, names in find(examined)]


def _told(examined: ExaminedPlan, about: str, *switches: str) -> Iterator[Answer]:
    """Tell of the decayed parameters that ``no_decay`` spares for one of some reasons, and for none before it."""
    spared = {param.name for switch in switches for param in examined.not_to_decay.get(switch, ())}
    yield from _named([param for param in examined.decayed if param.name in spared] if spared else [], about)


def _named(params: Sequence[ParamInfo], about: str) -> Iterator[Answer]:
    if params:
        yield f"weight decay on {counted(len(params), 'parameter')}, {about}", [param.name for param in params]


@plan_finding("decay-on-norm")
def on_norms(examined: ExaminedPlan) -> Iterator[Answer]:
    """Weight decay on the parameters of norms."""
    yield from _told(examined, "of normalization layers", "norm")


@plan_finding("decay-on-bias")
def on_biases(examined: ExaminedPlan) -> Iterator[Answer]:
    """Weight decay on biases, by any name."""
    yield from _told(examined, "biases", "bias", "other_biases")


@plan_finding("decay-on-gain")
def on_gains(examined: ExaminedPlan) -> Iterator[Answer]:
    """Weight decay on gains: vectors in any shape, and single numbers."""
    yield from _told(examined, "gains and other vectors", "one_dimensional", "vectors")


@plan_finding("decay-on-embedding")
def on_embeddings(examined: ExaminedPlan) -> Iterator[Answer]:
    """Weight decay on tokens and tables of positions; that on tables of words is a matter of the recipe."""
    found = list(filter(is_never_decayed, examined.others))
    yield from _named(found, "tokens or embeddings of positions")


@plan_finding("decay-on-marked")
def on_marked(examined: ExaminedPlan) -> Iterator[Answer]:
    """Weight decay on what the model's makers marked, or what a module's ``no_weight_decay()`` names."""
    if not examined.decayed:
        return
    yield from _told(examined, "marked with `_no_weight_decay`", "marks")
    own = [param for param in examined.decayed if param.marks and _spares_itself(param)]
    yield from _named(own, f"marked with `{OPTIONS}` to have none")
    others = {param.name for param in examined.others}
    asked = list(hinted_not_to_decay(examined.plan.inventory))
    hinted = {param.name: hint.why for hint in asked for param in hint.params if param.name in others}
    if hinted:
        reasons = listing(list(dict.fromkeys(hinted.values())), 2)
        what = f"weight decay on {counted(len(hinted), 'parameter')} that the model asks to spare ({reasons})"
        yield what, list(hinted)


def _spares_itself(param: ParamInfo) -> bool:
    mark = param.marks.get(OPTIONS)
    return isinstance(mark, Mapping) and mark.get("weight_decay") == 0


@plan_finding("lr-zero")
def lr_zero(examined: ExaminedPlan) -> Iterator[Answer]:
    """Trainable parameters whose LR is 0, and that no scheduler raises."""
    still = examined.trained_with(lambda options: options.get("lr") == 0)
    if still:
        yield f"the LR of {counted(len(still), 'parameter')} is 0, so they never move", [p.name for p in still]
