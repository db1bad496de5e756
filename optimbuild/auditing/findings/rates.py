"""Learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from optimbuild.auditing.examined import Examined, finding, places
from optimbuild.auditing.finding import Answer
from optimbuild.auditing.found import FoundGroup
from optimbuild.auditing.rates import SCALE, number, same, scales_are_applied

SEVERAL = 3
"""From so many different LRs on, the first group's may be that of the deepest of several layers."""

SMALL = 0.01
"""Up to this part of the highest LR, one LR for all groups is where a warm-up starts."""


@finding("impossible-lr")
def impossible(examined: Examined) -> Iterator[Answer]:
    """LRs that are no number, infinite or below 0: a step with one spoils the weights."""
    by_rate: dict[str, list[FoundGroup]] = {}
    for _, group in examined.numbered():
        rate = number(group.entries.get("lr"))
        if rate is not None and not _is_possible(rate):
            by_rate.setdefault(f"{rate:.4g}", []).append(group)
    for text, groups in by_rate.items():
        positions = sorted({position for group in groups for position in group.positions})
        told = f"the LR of {places(groups)} is {text}, and a step with it spoils the weights: look at the scheduler"
        yield told, examined.found.names(positions)


def _is_possible(rate: float) -> bool:
    return math.isfinite(rate) and rate >= 0


@finding("ignored-lr-scale")
def ignored_scale(examined: Examined) -> Iterator[Answer]:
    """Groups whose LRs are equal and whose ``lr_scale`` differs: only timm's schedulers multiply by it."""
    by_rate: dict[float, list[FoundGroup]] = {}
    if scales_are_applied(examined.found.groups):
        return
    for i, group in examined.numbered():
        rate = examined.rates[i]
        if number(group.entries.get(SCALE)) is not None and rate is not None:
            by_rate.setdefault(rate, []).append(group)
    for groups in by_rate.values():
        scales = [number(group.entries.get(SCALE)) or 0.0 for group in groups]
        if not same(scales):
            what = f"{places(groups)} with one LR have an `{SCALE}` from {min(scales):.4g} to {max(scales):.4g}"
            yield f"{what}, which torch does not read: multiply the LRs by it, or take a scheduler of timm", ()


@finding("first-group-is-deepest")
def first_is_deepest(examined: Examined) -> Iterator[Answer]:
    """The LR that loggers show, that of group 0, is the lowest of several. Plans of ours say their base LR."""
    if examined.found.built is not None:
        return
    by_optimizer: dict[int, list[tuple[float, FoundGroup]]] = {}
    for i, group in examined.numbered():
        scale = number(group.entries.get(SCALE))
        rate = (examined.rates[i] or 0.0) * (1.0 if scale is None or _has_scales(examined, i) else scale)
        by_optimizer.setdefault(group.optimizer, []).append((rate, group))
    for found in by_optimizer.values():
        rates = [rate for rate, _ in found]
        if len(set(rates)) >= SEVERAL and rates[0] == min(rates):
            what = f"{found[0][1].place}, whose LR loggers show, has the lowest: {rates[0]:.4g} of {max(rates):.4g}"
            yield f"{what}. Order the groups the other way round, or log the LRs by name", ()


def _has_scales(examined: Examined, number_of_group: int) -> bool:
    """Say whether the LR of a group has its ``lr_scale`` in it already: the LRs of the groups differ."""
    return not same([rate for rate in examined.rates if rate]) or not examined.rates[number_of_group]


@finding("broken-lr-ratios")
def broken_ratios(examined: Examined) -> Iterator[Answer]:
    """LRs that a scheduler moved so that they have no longer the ratios that they were meant to have."""
    pairs = [
        (group, now, meant)
        for i, group in examined.numbered()
        if (meant := _meant_rate(examined, i)) and (now := number(group.entries.get("lr")))
        if _is_possible(now) and _is_possible(meant)
    ]
    parts = [now / meant for _, now, meant in pairs]
    if same(parts) or _is_rising([now for _, now, _ in pairs], [meant for *_, meant in pairs]):
        return
    top, low = parts.index(max(parts)), parts.index(min(parts))
    positions = {
        position
        for (group, *_), part in zip(pairs, parts, strict=True)
        if not same([part, max(parts)])
        for position in group.positions
    }
    far = f"{pairs[top][0].place} is at {parts[top]:.3g} of its first LR, {pairs[low][0].place} at {parts[low]:.3g}"
    text = (
        f"the LRs no longer have the ratios that they began with: {far}. One LR number for all, as eta_min, does that"
    )
    yield text, examined.found.names(sorted(positions))


def _is_rising(rates: Sequence[float], meant: Sequence[float]) -> bool:
    """Say whether LRs are between one small LR for all groups and their own, as in the warm-ups of timm.

    They are the same on the way down to such a small LR, where the ratios hardly count.
    """
    top, bottom = meant.index(max(meant)), meant.index(min(meant))
    if meant[top] == meant[bottom]:
        return False
    part = (rates[top] - rates[bottom]) / (meant[top] - meant[bottom])
    rest = rates[bottom] - part * meant[bottom]
    if not 0 <= part < 1 or not 0 <= rest <= (1 - part) * meant[top] * SMALL:
        return False
    return all(same(sorted([rate, rest + part * own])) for rate, own in zip(rates, meant, strict=True))


def _meant_rate(examined: Examined, i: int) -> float | None:
    """Return the LR that a group was meant to have: by the plan that built it, or as its scheduler noted it."""
    built, group = examined.found.built, examined.found.groups[i]
    if built is not None:
        setting = built.settings[built.chosen[group.positions[0]]]
        if not setting.frozen:
            return number((setting.options or {}).get("lr"))
    return examined.rates[i]
