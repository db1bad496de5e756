"""Whether saved state fits an optimizer: everything is checked before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from optimbuild.checkpoint.layouts import Names, Saved
from optimbuild.checkpoint.named_optimizer import Held
from optimbuild.checkpoint.state_entries import Entry, expected_state
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown

Missing = Literal["error", "init"]
Unexpected = Literal["error", "ignore"]


@dataclass
class Match:
    """Saved state that fits.

    Args:
        entries: By parameter what the optimizer expects of it, or None where that could not be found out.
        missing: Parameters without saved state that shall start without.
        ignored: Saved parameters, and state, that have no place here.
    """

    entries: dict[str, Mapping[str, Entry] | None] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def matched(held: Held, saved: Saved, names: Names, missing: Missing, unexpected: Unexpected) -> Match:
    """Check saved state against an optimizer, by name.

    Args:
        held: The optimizer that resumes.
        saved: The state.
        names: The optimizer's names.
        missing: ``error``, or ``init`` to let parameters without saved state start without.
        unexpected: ``error``, or ``ignore`` to leave out what has no place here.

    Raises:
        CheckpointError: Something does not fit; lists every kind of misfit with names.
    """
    if missing not in ("error", "init") or unexpected not in ("error", "ignore"):
        raise CheckpointError(
            f"missing must be 'error' or 'init', and unexpected 'error' or 'ignore', not {shown(missing)} and "
            f"{shown(unexpected)}"
        )
    match, wrong = Match(), Misfits()
    kept: dict[tuple[int, int, torch.dtype, torch.device], Mapping[str, Entry] | None] = {}
    for name, param in held.params.items():
        values = saved.state.get(name)
        if values is None:
            if name not in saved.groups:
                match.missing.append(name)
            continue
        index = held.group_of[name]
        place = (index, param.ndim, param.dtype, param.device)
        if place not in kept:
            kept[place] = expected_state(held.local, held.optimizer.param_groups[index], param)
        _match_one(name, param, values, kept[place], match, wrong)
    strangers = [
        name for name in saved.groups if name not in held.params and (name in saved.state or name not in names.frozen)
    ]
    lines = []
    if missing == "error":
        partly = {name for found in wrong.lacking.values() for name in found}
        lines += wrong.lacking_lines([name for name in match.missing if name not in partly])
    if unexpected == "error":
        lines += wrong.extra_lines([f"{name} (frozen now)" if name in names.frozen else name for name in strangers])
    if wrong.shapes:
        lines.append(f"{len(wrong.shapes)} values of another shape or dtype: {listing(wrong.shapes)}")
    if lines:
        said = "".join(f"\n  {line}" for line in lines)
        raise CheckpointError(
            f"the saved state does not fit this {type(held.local).__name__}; nothing was loaded.{said}"
        )
    match.ignored = strangers + match.ignored
    return match


def _match_one(
    name: str,
    param: torch.Tensor,
    values: Mapping[str, Any],
    expected: Mapping[str, Entry] | None,
    match: Match,
    wrong: Misfits,
) -> None:
    """Check the values that were saved for one parameter."""
    if expected is not None and values.keys() != expected.keys():
        extra = [key for key in values if key not in expected]
        lacking = [key for key in expected if key not in values]
        match.ignored += [f"{name} ({key})" for key in extra]
        wrong.extra.setdefault(", ".join(extra), []).append(name)
        if lacking:
            wrong.lacking.setdefault(", ".join(lacking), []).append(name)
            match.missing.append(name)
            return
    for key in expected or values:
        problem = misfit(values[key], expected[key] if expected is not None else None, param)
        if problem:
            wrong.shapes.append(f"{name} ({key}): {problem}")
    match.entries[name] = expected


def misfit(value: Any, entry: Entry | None, param: torch.Tensor) -> str:
    """Return in what a saved value differs from what is expected; nothing where it fits.

    >>> misfit(torch.zeros(2), Entry("like", torch.float32), torch.zeros(3))
    '(2,) saved, (3,) here'
    """
    if not isinstance(value, torch.Tensor):
        if not isinstance(value, (int, float, str)):
            return f"{shown(value)} saved, which is neither tensor nor number"
        fits = entry is None or entry.kind == "number" or (entry.kind == "scalar" and not isinstance(value, str))
        return "" if fits else f"the number {shown(value)} saved, a tensor of shape {tuple(param.shape)} here"
    if entry is None:
        return ""
    if entry.kind == "like":
        if value.shape != param.shape:
            return f"{tuple(value.shape)} saved, {tuple(param.shape)} here"
        if value.dtype != entry.dtype:
            return f"{_name(value.dtype)} saved, {_name(entry.dtype)} here"
    elif entry.kind == "other":
        if value.dtype != entry.dtype:
            return f"{_name(value.dtype)} saved, {_name(entry.dtype)} here"
    elif value.numel() != 1:
        return f"{tuple(value.shape)} saved, a single number here"
    return ""


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass
class Misfits:
    """Everything about a save that does not fit an optimizer.

    Args:
        lacking: By what the optimizer keeps and the save lacks, the parameters.
        extra: By what the save has and the optimizer does not keep, the parameters.
        shapes: Values of another shape or dtype.
    """

    lacking: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, list[str]] = field(default_factory=dict)
    shapes: list[str] = field(default_factory=list)

    def lacking_lines(self, missing: list[str]) -> list[str]:
        """Return what is not in the save; ``missing`` are parameters of which nothing is."""
        found = [f"{_counted(missing)} without saved state: {listing(missing)}"] if missing else []
        found += [f"{_counted(names)} saved without {keys}: {listing(names)}" for keys, names in self.lacking.items()]
        return [f"{line} (missing='init' starts them afresh)" for line in found]

    def extra_lines(self, strangers: list[str]) -> list[str]:
        """Return what is only in the save; ``strangers`` are parameters that the optimizer does not have."""
        found = [f"{_counted(strangers)} saved, but not in the optimizer: {listing(strangers)}"] if strangers else []
        found += [
            f"{_counted(names)} saved with {keys}, which it does not keep: {listing(names)}"
            for keys, names in self.extra.items()
            if keys
        ]
        return [f"{line} (unexpected='ignore' leaves that out)" for line in found]


def _counted(names: list[str]) -> str:
    return f"{len(names)} parameter{'' if len(names) == 1 else 's'}"
