"""Rules that may explain a plan, as data: tried one after the other, and judged by the plans that they make."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from optimbuild.auditing.infer.target import Rule, Target
from optimbuild.auditing.rates import number
from optimbuild.model.depths.internimage_levels import blocks_of_levels
from optimbuild.rules.dcn_lr import KEYWORDS
from optimbuild.rules.no_decay import NEW

NO_DECAY: tuple[Rule, ...] = (
    {"type": "no_decay"},
    {"type": "no_decay", "hints": False},
    {"type": "no_decay", **dict.fromkeys(NEW, False)},
    {"type": "no_decay", "hints": False, **dict.fromkeys(NEW, False)},
    {"type": "no_decay", "norm": False, "bias": False, **dict.fromkeys(NEW, False)},
    {"type": "no_decay", "norm": False, "bias": False, "hints": False, **dict.fromkeys(NEW, False)},
    {"type": "no_decay", "norm": False, "one_dimensional": False, "hints": False, **dict.fromkeys(NEW, False)},
    {"type": "no_decay", "bias": False, "one_dimensional": False, "hints": False, **dict.fromkeys(NEW, False)},
    {"type": "no_decay", "one_dimensional": False, "hints": False, **dict.fromkeys(NEW, False)},
)
"""Everything that we know to spare; and what published code does: less of it, with the model's own hints or without."""

ROUTES: tuple[Rule, ...] = (
    {"kinds": ["matrix"], "except": ["output", "embedding"]},
    {"kinds": ["matrix"], "except": ["output", "embedding", "router"]},
    {"kinds": ["matrix"], "except": ["output"]},
    {"kinds": ["matrix"]},
    {"min_dims": 2},
    {"kinds": ["embedding"]},
    {"kinds": ["output"]},
)
"""What published recipes give to another optimizer, such as Muon."""

RATIOS_TRIED = 4
"""How many ratios between neighbouring LRs are tried, the commonest first."""


def decays() -> Iterator[list[Rule]]:
    """Yield rules of weight decay; none come first."""
    yield []
    yield from [[rule] for rule in NO_DECAY]


def routes(to: str) -> Iterator[Rule]:
    """Yield rules that route to an optimizer."""
    yield from [{"type": "route", "to": to, **rule} for rule in ROUTES]


def rates(target: Target) -> Iterator[list[Rule]]:
    """Yield rules of LRs, the simplest first."""
    yield []
    factors = list(_dcn_factors(target))
    yield from [[{"type": "dcn_lr", "factor": factor}] for factor in factors]
    for ratio in _ratios(target):
        for layers in _layers(target):
            decay: Rule = {"type": "layer_decay", "ratio": ratio, **layers}
            yield [decay]
            yield from [[decay, {"type": "dcn_lr", "factor": factor}] for factor in factors]


def _ratios(target: Target) -> list[float]:
    """Return the likely ratios of layer-wise LR decay: of neighbouring LRs, as short as exactness allows."""
    tops = {name: max([number(row.get("lr")) or 0.0 for row in target.of(name)]) for name in target.optimizers}
    parts = [(number(row.get("lr")) or 0.0) / (tops[str(row["optimizer"])] or 1.0) for row in target.options.values()]
    known = sorted({float(f"{part:.9g}") for part in parts if part}, reverse=True)
    quotients = [low / high for high, low in pairwise(known)]
    roots = [part ** (1 / power) for part in known[1:] for power in (1, 2, 3)]
    counts = Counter([round(quotient, digits) for quotient in [*quotients, *roots] for digits in (3, 4)])
    likely = [ratio for ratio, count in counts.most_common() if 0 < ratio < 1 and count > 1]
    return sorted(likely[: 2 * RATIOS_TRIED], key=lambda ratio: (len(str(ratio)), -counts[ratio]))[:RATIOS_TRIED]


def _layers(target: Target) -> Iterator[Rule]:
    """Yield where layers may be from."""
    yield {}
    if blocks := blocks_of_levels(target.plan.inventory):
        yield {"layers": "internimage", "depths": list(blocks)}


def _dcn_factors(target: Target) -> Iterator[float]:
    """Yield likely LR factors of what steers deformable convolutions: going by such a tensor and its neighbour."""
    found: Counter[float] = Counter()
    options = list(target.options.items())
    for (_, before), (name, after) in pairwise(options):
        low, high = number(after.get("lr")), number(before.get("lr"))
        if any(keyword in name for keyword in KEYWORDS) and low and high:
            found[round(low / high, 6)] += 1
    yield from [factor for factor, _ in found.most_common(2) if not math.isclose(factor, 1.0)]
