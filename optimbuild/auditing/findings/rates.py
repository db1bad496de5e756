"""Learning rates."""

from __future__ import annotations

from collections.abc import Iterator

from optimbuild.auditing.finding import Answer, Examined, finding, places
from optimbuild.auditing.found import FoundGroup
from optimbuild.auditing.rates import SCALE, number, same, scales_are_applied
from optimbuild.build.lr_ratios import LrRatios
from optimbuild.messages import counted
from optimbuild.plan.decision import Group

SEVERAL = 3
"""From so many different LRs on, the first group's may be that of the deepest of several layers."""


@finding("lr-zero")
def lr_zero(examined: Examined) -> Iterator[Answer]:
    """Trainable parameters whose LR is 0, and that no scheduler raises."""
    still = [group for i, group in examined.numbered() if examined.rates[i] == 0]
    positions = sorted({position for group in still for position in group.positions})
    params = examined.found.inventory.params
    names = [params[position].name for position in positions if params[position].trainable]
    if names:
        yield f"the LR of {places(still)} is 0, so {counted(len(names), 'parameter')} never move", names


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
            yield (
                f"{places(groups)} with one LR have an `{SCALE}` from {min(scales):.4g} to {max(scales):.4g}, which torch "
                "and its schedulers do not read: multiply the LRs by it, or step with a scheduler of timm",
                (),
            )


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
            yield (
                f"{found[0][1].place}, whose LR loggers show as the learning rate, has {rates[0]:.4g}, the lowest; the "
                f"highest is {max(rates):.4g}. Order the groups the other way round, or log the LRs by name",
                (),
            )


def _has_scales(examined: Examined, number_of_group: int) -> bool:
    """Say whether the LR of a group has its ``lr_scale`` in it already: the LRs of the groups differ."""
    return not same([rate for rate in examined.rates if rate]) or not examined.rates[number_of_group]


@finding("broken-lr-ratios")
def broken_ratios(examined: Examined) -> Iterator[Answer]:
    """LRs that a scheduler moved so that they have no longer the ratios that they were meant to have."""
    if not examined.found.is_live and not _was_scheduled(examined):
        return
    groups = [(group, rate) for i, group in examined.numbered() if (rate := _planned_rate(examined, i)) is not None]
    names = [examined.found.names(group.positions) for group, _ in groups]
    planned = [
        Group(group.kind.name, {"lr": rate}, called, (), "for-loop")
        for (group, rate), called in zip(groups, names, strict=True)
    ]
    live = [{**group.entries, "param_names": called} for (group, _), called in zip(groups, names, strict=True)]
    if LrRatios(planned).difference(live):
        pairs = [(number(group.entries.get("lr")), rate, group) for group, rate in groups]
        parts = {group.place: (now or 0.0) / rate for now, rate, group in pairs if rate}
        top = max(parts, key=lambda place: parts[place])
        low = min(parts, key=lambda place: parts[place])
        wrong = [group for now, rate, group in pairs if not rate or not same([parts[group.place], parts[top]])]
        yield (
            f"the LRs no longer have the ratios that they began with: {top} is at {parts[top]:.3g} of its first LR, "
            f"{low} at {parts[low]:.3g}. A scheduler with one LR for all groups does that, such as eta_min or max_lr",
            examined.found.names(sorted({position for group in wrong for position in group.positions})),
        )


def _was_scheduled(examined: Examined) -> bool:
    return any("initial_lr" in group.entries for group in examined.found.groups)


def _planned_rate(examined: Examined, i: int) -> float | None:
    """Return the LR that a group was meant to have: by the plan that built it, or as its scheduler noted it."""
    built, group = examined.found.built, examined.found.groups[i]
    if built is not None:
        setting = built.settings[built.chosen[group.positions[0]]]
        if not setting.frozen:
            return number((setting.options or {}).get("lr"))
    return examined.rates[i]
