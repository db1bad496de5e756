"""Weight decay on what should not shrink, as the rule ``no_decay`` knows it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from optimbuild.auditing.finding import Answer, Examined, finding
from optimbuild.messages import counted, listing
from optimbuild.model.conventions import causes_not_to_decay, hinted_not_to_decay
from optimbuild.model.marks import OPTIONS
from optimbuild.model.never_decayed import is_never_decayed
from optimbuild.model.param_info import ParamInfo


def _decayed(examined: Examined) -> set[str]:
    """Return the names of the parameters that are decayed."""
    plan = examined.plan
    decays = [bool((setting.options or {}).get("weight_decay")) for setting in plan.settings]
    return {name for name, index in zip(plan.inventory.names, plan.chosen, strict=True) if decays[index]}


class _Cause(NamedTuple):
    """A switch of ``no_decay``, and what it is about in words."""

    switches: Collection[str]
    about: str


NORM = _Cause(("norm",), "of normalization layers")
BIAS = _Cause(("bias", "other_biases"), "biases")
GAIN = _Cause(("one_dimensional", "vectors"), "gains and other vectors")
MARK = _Cause(("marks",), "marked with `_no_weight_decay`")
ALL = (NORM, BIAS, GAIN, MARK)
"""In the order of ``no_decay``: a parameter has one cause, the first."""


def _caused(examined: Examined, cause: _Cause) -> list[ParamInfo]:
    """Return the decayed parameters with a cause, and no earlier one, against decay."""
    switches = {switch for each in ALL for switch in each.switches}
    decayed = _decayed(examined)
    if not decayed:
        return []
    found = causes_not_to_decay(examined.found.inventory, switches)
    return [p for (switch, _), params in found.items() if switch in cause.switches for p in params if p.name in decayed]


def _told(params: Iterable[ParamInfo], about: str) -> Iterator[Answer]:
    names = [param.name for param in params]
    if names:
        yield f"weight decay on {counted(len(names), 'parameter')}, {about}", names


@finding("decay-on-norm")
def on_norms(examined: Examined) -> Iterator[Answer]:
    """Weight decay on the parameters of norms."""
    yield from _told(_caused(examined, NORM), NORM.about)


@finding("decay-on-bias")
def on_biases(examined: Examined) -> Iterator[Answer]:
    """Weight decay on biases, by any name."""
    yield from _told(_caused(examined, BIAS), BIAS.about)


@finding("decay-on-gain")
def on_gains(examined: Examined) -> Iterator[Answer]:
    """Weight decay on gains: vectors in any shape, and single numbers."""
    yield from _told(_caused(examined, GAIN), GAIN.about)


@finding("decay-on-embedding")
def on_embeddings(examined: Examined) -> Iterator[Answer]:
    """Weight decay on tokens and tables of positions; that on tables of words is a matter of the recipe."""
    decayed, told = _decayed(examined), {p.name for cause in ALL for p in _caused(examined, cause)}
    yield from _told(
        [p for p in examined.found.inventory if p.name in decayed and p.name not in told and is_never_decayed(p)],
        "tokens or embeddings of positions",
    )


@finding("decay-on-marked")
def on_marked(examined: Examined) -> Iterator[Answer]:
    """Weight decay on what the model's makers marked, or what a module's ``no_weight_decay()`` names."""
    decayed = _decayed(examined)
    if not decayed:
        return
    yield from _told(_caused(examined, MARK), MARK.about)
    own = [p for p in examined.found.inventory if p.name in decayed and _spares_itself(p)]
    yield from _told(own, f"marked with `{OPTIONS}` to have none")
    told = {p.name for cause in ALL for p in _caused(examined, cause)}
    hinted = {
        param.name: hint.why
        for hint in hinted_not_to_decay(examined.found.inventory)
        for param in hint.params
        if param.name in decayed and param.name not in told
    }
    if hinted:
        reasons = listing(list(dict.fromkeys(hinted.values())), 2)
        yield (
            f"weight decay on {counted(len(hinted), 'parameter')} that the model asks to spare ({reasons})",
            list(hinted),
        )


def _spares_itself(param: ParamInfo) -> bool:
    mark = param.marks.get(OPTIONS)
    return isinstance(mark, dict) and mark.get("weight_decay") == 0
