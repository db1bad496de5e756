"""Whether the LRs of an optimizer's groups have the ratios that its plan gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from optimbuild.messages import listing
from optimbuild.plan.decision import Group

TOLERANCE = 1.01
"""By how much the ratio of two LRs may differ from the plan's."""

SHOWN = 3
"""How many groups a message describes."""

NEGLIGIBLE = 1e-3
"""Below this part of the planned LRs ratios do not count."""

PLAIN = frozenset((float, int))
"""The types of LRs that are read at once; tensors take longer."""

ADVICE = (
    "What keeps the ratios: where a scheduler takes an LR, a list with one per group, as in "
    "OneCycleLR(max_lr=[group['lr'] for group in optimizer.param_groups]); a last LR that is 0 or relative, as "
    "eta_min=0 of CosineAnnealingLR or eta_min_ratio of MMEngine's; LambdaLR; in a loop of your own, the same factor "
    "for the first LR of every group. If this is on purpose, write `watch: false` into the config"
)


class LrRatios:
    """The planned ratios between the LRs of groups, and where the LRs are in warm-up.

    Some schedulers begin warm-up with one small LR for all groups, from which each rises to its own. On this way ratios
    do not count. A group whose LR is 0 is left out, and one whose LR is a tensor on an accelerator, which could not be
    read without waiting for it.

    Args:
        groups: The planned groups, in the order of the optimizer's.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self._names = [group.params for group in groups]
        self._planned = [_rate(group.options.get("lr")) for group in groups]
        self._still = {place for place, group in enumerate(groups) if group.options.get("lr") == 0}
        self._last: list[float] = []
        self._part: float | None = None  # of the way from one LR for all to the planned LRs, at the last look
        self._rising = False

    def start_from(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Take the LRs of loaded groups for the planned ones: the loader has said how they differ."""
        pairs = zip(groups, self._planned, strict=False)
        loaded = [_rate(group.get("initial_lr", group.get("lr"))) for group, _ in pairs]
        if len(set(loaded) - {0.0}) > 1 or (any(loaded) and len(set(self._planned) - {0.0}) == 1):
            self._planned = loaded  # else they are in the middle of a warm-up, or have lost their ratios already
        self._last, self._part, self._rising = [], None, False

    def difference(self, groups: Sequence[Mapping[str, Any]]) -> str:
        """Return how the current LRs differ from the planned ratios; empty where they do not.

        Args:
            groups: The optimizer's groups; those that were added later are left out.
        """
        planned = self._planned
        found = [group.get("lr") for group in groups[: len(planned)]]
        rates: list[Any] = found if PLAIN.issuperset(map(type, found)) else [_rate(rate) for rate in found]
        before, self._last = self._last, rates
        factor = next((rate / base for rate, base in zip(rates, planned, strict=False) if base), 0.0)
        low, high = factor / TOLERANCE, factor * TOLERANCE
        if all(low * base <= rate <= high * base for rate, base in zip(rates, planned, strict=False)):
            self._part = factor or self._part
            return ""  # nearly always
        pairs = list(enumerate(zip(rates, planned, strict=False)))
        fractions = {place: rate / base for place, (rate, base) in pairs if rate and base}
        if still := [place for place, (rate, base) in pairs if rate and base == 0 and place in self._still]:
            return self._words_of_still(groups, still)
        highest = max(fractions.values(), default=0.0)
        if highest < NEGLIGIBLE or not _differ(highest, min(fractions.values())):
            return ""
        first = [group.get("initial_lr", 0.0) for group in groups[: len(planned)]]
        if self._is_warm_up(before, fractions, first):
            return ""
        return self._words(groups, fractions)

    def _is_warm_up(self, before: Sequence[float], fractions: Mapping[int, float], first: Sequence[float]) -> bool:
        """Say whether the LRs are on the way from one small LR for all groups to the planned LRs.

        Args:
            before: The LRs at the last look.
            fractions: By group the part of its planned LR that it has.
            first: What a scheduler noted as the LRs that it starts from or rises to; 0 where there is none.
        """
        now, planned = self._last, self._planned
        noted = [_rate(first[place]) / planned[place] for place in fractions]
        scheduled = all(noted)
        if (scheduled and _differ(max(noted), min(noted))) or (not scheduled and max(fractions.values()) > TOLERANCE):
            return False
        top, bottom = max(fractions, key=planned.__getitem__), min(fractions, key=planned.__getitem__)
        if planned[top] == planned[bottom]:
            return False
        last, part = self._part, (now[top] - now[bottom]) / (planned[top] - planned[bottom])
        self._part, rest = part, now[bottom] - part * planned[bottom]
        if part < 0 or not -1e-6 * planned[top] <= rest <= planned[top] / 2 * (1 - part):
            return False
        if any(_differ(now[place], rest + part * planned[place]) for place in fractions):
            return False
        if last is None:
            return True
        if part == last and now == before:
            return self._rising or scheduled  # a scheduler that moves once per epoch
        self._rising = part > last
        return self._rising

    def _words_of_still(self, groups: Sequence[Mapping[str, Any]], still: Sequence[int]) -> str:
        if any(list(groups[place].get("param_names", ())) != list(self._names[place]) for place in still):
            return ""  # these are not the groups of the plan any more
        described = [
            f"group {place} ({listing(self._names[place], 2)}) has {self._last[place]:.4g}" for place in still[:SHOWN]
        ]
        return f"the plan gives these groups an LR of 0, and they are trained: {'; '.join(described)}. {ADVICE}"

    def _words(self, groups: Sequence[Mapping[str, Any]], fractions: Mapping[int, float]) -> str:
        rates, names = self._last, self._names
        if any(list(groups[place].get("param_names", ())) != list(names[place]) for place in fractions):
            return ""  # these are not the groups of the plan any more
        first = max(fractions, key=self._planned.__getitem__)  # the parameters that train at the full LR
        wrong = [place for place, fraction in fractions.items() if _differ(fraction, fractions[first])]
        wrong.sort(key=lambda place: -abs(fractions[place] / fractions[first] - 1))
        described = [
            f"group {place} ({listing(names[place], 2)}) has {rates[place]:.4g} instead of "
            f"{self._planned[place] * fractions[first]:.4g}"
            for place in wrong[:SHOWN]
        ]
        more = f", and so on for {len(wrong) - SHOWN} more groups" if wrong[SHOWN:] else ""
        return (
            "the LRs of the groups no longer have the ratios of the plan. Where group "
            f"{first} ({listing(names[first], 2)}) has {rates[first]:.4g}, {'; '.join(described)}{more}. {ADVICE}"
        )


def _differ(one: float, other: float) -> bool:
    return max(one, other) > min(one, other) * TOLERANCE


def _rate(value: object) -> float:
    """Return an LR as a number; 0 where it is none, or is not to be had without waiting for an accelerator."""
    if isinstance(value, torch.Tensor):
        return float(value) if value.is_cpu and value.numel() == 1 else 0.0
    return float(value) if isinstance(value, (int, float)) else 0.0
