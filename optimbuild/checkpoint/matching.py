"""Whether saved state fits an optimizer: everything is checked before anything is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from optimbuild.checkpoint.expected import Entry, expected_state
from optimbuild.checkpoint.held import Held
from optimbuild.checkpoint.layouts import Names, Saved
from optimbuild.errors import CheckpointError, listing, shown

Missing = Literal["error", "init"]
Unexpected = Literal["error", "ignore"]


@dataclass
class Match:
    """Saved state that fits.

    Args:
        entries: By parameter the values to load, each with what the optimizer expects, or None where
            that could not be found out.
        missing: Parameters without saved state that shall start without.
        ignored: Saved parameters, and state, that have no place here.
    """

    entries: dict[str, dict[str, tuple[Any, Entry | None]]] = field(default_factory=dict)
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
            if name not in saved.options:
                match.missing.append(name)
            continue
        index = held.group_of[name]
        place = (index, param.ndim, param.dtype, param.device)
        if place not in kept:
            kept[place] = expected_state(held.local, held.optimizer.param_groups[index], param)
        _match_one(name, param, values, kept[place], match, wrong)
    match.ignored += [
        name for name in saved.options if name not in held.params and (name in saved.state or name not in names.frozen)
    ]
    wrong.missing = match.missing if missing == "error" else []
    wrong.unexpected = match.ignored if unexpected == "error" else []
    wrong.frozen = names.frozen
    wrong.refuse(held)
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
    if expected is None:
        found: dict[str, tuple[Any, Entry | None]] = {key: (value, None) for key, value in values.items()}
    else:
        if values.keys() != expected.keys():
            match.ignored += [f"{name} ({key})" for key in values if key not in expected]
            if any(key not in values for key in expected):
                wrong.lacking[name] = [key for key in expected if key not in values]
                match.missing.append(name)
                return
        found = {key: (values[key], entry) for key, entry in expected.items()}
    for key, (value, entry) in found.items():
        problem = misfit(value, entry, param)
        if problem:
            wrong.shapes.append(f"{name} ({key}): {problem}")
    match.entries[name] = found


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
    """Everything about a save that does not fit an optimizer."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    frozen: set[str] = field(default_factory=set)
    lacking: dict[str, list[str]] = field(default_factory=dict)
    shapes: list[str] = field(default_factory=list)

    def refuse(self, held: Held) -> None:
        """Raise a CheckpointError where something does not fit."""
        lines = []
        if self.missing:
            names = [
                f"{name} (without {', '.join(self.lacking[name])})" if name in self.lacking else name
                for name in self.missing
            ]
            lines.append(f"{_counted(names)} without saved state: {listing(names)} (missing='init' starts them afresh)")
        if self.unexpected:
            names = [f"{name} (frozen now)" if name in self.frozen else name for name in self.unexpected]
            lines.append(f"saved, but not in the optimizer: {listing(names)} (unexpected='ignore' leaves them out)")
        if self.shapes:
            lines.append(f"{len(self.shapes)} values of another shape or dtype: {listing(self.shapes)}")
        if lines:
            where = type(held.local).__name__
            said = "".join(f"\n  {line}" for line in lines)
            raise CheckpointError(f"the saved state does not fit this {where}; nothing was loaded.{said}")


def _counted(names: list[str]) -> str:
    return f"{len(names)} parameter{'' if len(names) == 1 else 's'}"
