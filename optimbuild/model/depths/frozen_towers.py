"""Towers of which nothing is trained, such as a teacher, and which therefore have no layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from optimbuild.model.depths.numbered import cut_at_number, indices_of
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

RIVALS = 4
"""A sequence with at least this many times the tensors of another one is the trunk beside it."""


def outside_frozen_towers(model: Inventory) -> Sequence[ParamInfo]:
    """Return the parameters but for those in towers of which nothing is trained.

    A tower is what is around a sequence of numbered modules, up to the module that it shares with a trained sequence.
    It counts if it is no small sequence beside the trained ones, such as a head. All other frozen parameters stay.

    Args:
        model: The model; what its config freezes is not trained either.
    """
    if len(model.trained) == len(model):
        return model.params
    trained = frozenset([param.name for param in model.trained])
    sequence_of = _sequences(model.names)
    alive = {found for name, found in sequence_of.items() if name in trained}
    if not alive:
        return model.params
    tensors = Counter(sequence_of.values())
    least = max(tensors[found] for found in alive) / RIVALS
    rivals = [found for found in tensors if tensors[found] > least]
    active = {name[:i] for name in trained for i, letter in enumerate(name) if letter == "."}
    towers = {_tower(found, alive.intersection(rivals)) for found in rivals if found not in alive} - active
    return [p for p in model if not _is_inside(p.name, towers) and sequence_of.get(p.name) not in towers]


def _sequences(names: Sequence[str]) -> dict[str, str]:
    """Return by name the sequence of numbered modules that a parameter is in; parameters in none are left out.

    A sequence of ``layer1``, ``layer2``, … counts rather than those inside its members.
    """
    found: dict[str, str] = {}
    for digits_at_end in (True, False):
        cuts = [cut_at_number(name, digits_at_end) for name in names]
        several = {container for container, indices in indices_of(cuts).items() if len(indices) > 1}
        for name, cut in zip(names, cuts, strict=True):
            if cut is not None and cut[0] in several:
                found.setdefault(name, cut[0])
    return found


def _tower(sequence: str, others: Collection[str]) -> str:
    """Return the shortest beginning of a sequence's path that no other sequence shares."""
    shared = {other[:i] for other in others for i, letter in enumerate(f"{other}.") if letter == "."}
    ends = [i for i, letter in enumerate(f"{sequence}.") if letter == "."]
    return next((sequence[:end] for end in ends if sequence[:end] not in shared), sequence)


def _is_inside(name: str, modules: Collection[str]) -> bool:
    return any(name[:i] in modules for i, letter in enumerate(name) if letter == ".")
