"""Weight decay on what should not shrink, as the rule ``no_decay`` knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from optimbuild.auditing.finding import Answer, Examined, finding
from optimbuild.messages import counted, listing
from optimbuild.model.conventions import hinted_not_to_decay
from optimbuild.model.marks import OPTIONS
from optimbuild.model.never_decayed import is_never_decayed
from optimbuild.model.param_info import ParamInfo


def _told(examined: Examined, about: str, *switches: str) -> Iterator[Answer]:
    """Tell of the decayed parameters that ``no_decay`` spares for one of some reasons, and for none before it."""
    reasons, decayed = examined.not_to_decay, examined.decayed
    yield from _named([name for name, switch in reasons.items() if switch in switches and name in decayed], about)


def _named(names: list[str], about: str) -> Iterator[Answer]:
    if names:
        yield f"weight decay on {counted(len(names), 'parameter')}, {about}", names


@finding("decay-on-norm")
def on_norms(examined: Examined) -> Iterator[Answer]:
    """Weight decay on the parameters of norms."""
    yield from _told(examined, "of normalization layers", "norm")


@finding("decay-on-bias")
def on_biases(examined: Examined) -> Iterator[Answer]:
    """Weight decay on biases, by any name."""
    yield from _told(examined, "biases", "bias", "other_biases")


@finding("decay-on-gain")
def on_gains(examined: Examined) -> Iterator[Answer]:
    """Weight decay on gains: vectors in any shape, and single numbers."""
    yield from _told(examined, "gains and other vectors", "one_dimensional", "vectors")


@finding("decay-on-embedding")
def on_embeddings(examined: Examined) -> Iterator[Answer]:
    """Weight decay on tokens and tables of positions; that on tables of words is a matter of the recipe."""
    names = [param.name for param in _others(examined) if is_never_decayed(param)]
    yield from _named(names, "tokens or embeddings of positions")


@finding("decay-on-marked")
def on_marked(examined: Examined) -> Iterator[Answer]:
    """Weight decay on what the model's makers marked, or what a module's ``no_weight_decay()`` names."""
    if not examined.decayed:
        return
    yield from _told(examined, "marked with `_no_weight_decay`", "marks")
    own = [param.name for param in examined.found.inventory if param.marks and _spares_itself(param)]
    yield from _named([name for name in own if name in examined.decayed], f"marked with `{OPTIONS}` to have none")
    others = {param.name for param in _others(examined)}
    asked = list(hinted_not_to_decay(examined.found.inventory))
    hinted = {param.name: hint.why for hint in asked for param in hint.params if param.name in others}
    if hinted:
        reasons = listing(list(dict.fromkeys(hinted.values())), 2)
        what = f"weight decay on {counted(len(hinted), 'parameter')} that the model asks to spare ({reasons})"
        yield what, list(hinted)


def _others(examined: Examined) -> Iterable[ParamInfo]:
    """Return the decayed parameters that nothing in themselves speaks against decaying."""
    reasons, decayed = examined.not_to_decay, examined.decayed
    return [param for param in examined.found.inventory if param.name in decayed and param.name not in reasons]


def _spares_itself(param: ParamInfo) -> bool:
    mark = param.marks.get(OPTIONS)
    return isinstance(mark, Mapping) and mark.get("weight_decay") == 0
