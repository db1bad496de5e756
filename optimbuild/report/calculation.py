"""How a setting came about, as a calculation: ``2e-05 × 0.81 (layer_decay: layer 34 of 36) = 1.62e-05``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from optimbuild.report.interfaces import StepView
from optimbuild.report.notation import number_text, option_text

Trace = Sequence[StepView]
"""The steps that led to a setting, in order."""

_LONG = re.compile(r"\d\.\d{5,}(?:e-?\d+)?", re.ASCII)
"""A number in a reason that has more digits than people write."""


def calculations(traces: Sequence[Trace]) -> dict[str, str]:
    """Return by option how it came about, for those that a step changed.

    Args:
        traces: The traces of parameters whose steps change the same options: that of the first layer and that of the
            last one, or a single one. What differs is written from the one to the other.
    """
    keys = dict.fromkeys([key for step in traces[0] for key in step.after])
    return {key: _calculation(key, traces) for key in keys}


def _calculation(key: str, traces: Sequence[Trace]) -> str:
    steps = [[step for step in trace if key in step.after] for trace in traces]
    text, scaled = _span([value_text(some[0].before.get(key)) for some in steps]), False
    for step in zip(*steps, strict=True):
        scaled = key in step[0].factors
        values = [number_text(one.factors[key]) if scaled else value_text(one.after[key]) for one in step]
        why = _span([_LONG.sub(lambda found: number_text(float(found[0])), one.why) for one in step])
        text += f" {'×' if scaled else '→'} {_span(values)} ({step[0].rule}{f': {why}' if why else ''})"
    if scaled:
        text += f" = {_span([value_text(some[-1].after[key]) for some in steps])}"
    return text


def _span(texts: Sequence[str]) -> str:
    """Return texts as one, from the first to the last."""
    return " … ".join(dict.fromkeys([texts[0], texts[-1]]))


def value_text(value: Any) -> str:
    """Return the value of an option, numbers as people write them."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return option_text(value)
