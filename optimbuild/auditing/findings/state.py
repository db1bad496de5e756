"""State that does not fit its parameter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from optimbuild.auditing.examined import Examined, finding
from optimbuild.auditing.finding import Answer
from optimbuild.auditing.found import Found, FoundGroup
from optimbuild.checkpoint.state_entries import Entries, depends_on_shape, expected_state, mismatch
from optimbuild.messages import counted


@finding("state-does-not-fit")
def state_does_not_fit(examined: Examined) -> Iterator[Answer]:
    """State of another shape or dtype than the optimizer keeps for its parameter."""
    found, names_of = examined.found, dict[str, list[str]]()
    names = found.inventory.names
    for number, group in examined.numbered():
        expected = _Expected(found, number, group)
        for position in group.positions:
            state = found.state_of(group, position)
            problem = _problem(state, expected.of(position), found.tensors[position]) if state else ""
            if problem:
                names_of.setdefault(problem, []).append(names[position])
    for problem, concerned in names_of.items():
        yield f"the state of {counted(len(concerned), 'parameter')} does not fit ({problem})", concerned


class _Expected:
    """What the optimizer keeps for the parameters of a group, looked up once for each form of a tensor."""

    def __init__(self, found: Found, number: int, group: FoundGroup) -> None:
        self._found, self._group, self._number = found, group, number
        self._known: dict[Any, Entries | None] = {}

    def of(self, position: int) -> Entries | None:
        tensor = self._found.tensors[position]
        form = (tensor.ndim, tensor.dtype, tensor.device)
        if form not in self._known:
            entries = expected_state(self._group.stepper, self._group.entries, tensor)
            if depends_on_shape(self._group.stepper, entries):
                return entries
            self._known[form] = entries
        return self._known[form]


def _problem(state: Mapping[str, Any], expected: Entries | None, tensor: torch.Tensor) -> str:
    """Say what of a state does not fit; nothing where it all does, or where it is not known what would."""
    if expected is None:
        return ""
    shape = tensor.shape
    for key, entry in expected.items():
        value, here = state.get(key), shape if entry.kind == "like" else entry.shape or ()
        if type(value) is torch.Tensor and value.dtype is entry.dtype and value.shape == here:
            continue  # nearly always
        if value is not None and (told := mismatch(value, entry, tensor)):
            return f"{key}: {told}"
    return ""
