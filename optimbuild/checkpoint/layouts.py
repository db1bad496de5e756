"""Readers of the layouts that saved optimizer state comes in; each gives state and options by parameter name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.checkpoint.known_names import KnownNames
from optimbuild.checkpoint.saved_state import SavedState
from optimbuild.checkpoint.unnamed_groups import GivenNames, given_names, nothing_says, proved_names
from optimbuild.errors import CheckpointError
from optimbuild.messages import counted, listing, shown

VERSION = 1
OURS = f"optimbuild, version {VERSION}"


def read_state(state: Any, names: KnownNames, given: GivenNames = None) -> SavedState:
    """Read saved state in any known layout.

    Args:
        state: What :func:`~optimbuild.checkpoint.optimizer_state` returned; a ``state_dict()`` of torch,
            with ``param_names``, with a ``name`` for each group of one parameter (InternVL and InternImage),
            or with one unnamed group per tensor in model order (MMEngine); a consolidated ZeRO state; or
            what torch's ``get_optimizer_state_dict`` returned.
        names: The names of the optimizer that resumes.
        given: The names of saved groups that have none, as their author gave them.

    Raises:
        CheckpointError: It is none of these, or nothing says which state belongs to which parameter.
    """
    if not isinstance(state, Mapping):
        raise CheckpointError(f"optimizer state must be a mapping, not {shown(state)}")
    if not state:
        raise CheckpointError(
            "the state is empty: optimizer_state(…, to_rank=…) returns an empty one on the ranks that were not chosen"
        )
    is_flat = all(isinstance(key, str) and key.startswith(("state.", "param_groups.")) for key in state)
    if given is not None and (is_flat or ("params" in state and "param_groups" not in state)):
        raise CheckpointError(
            "names: this state calls each parameter by its name already; to change them there is rename"
        )
    if is_flat:
        return _flat_layout(state, names)
    if "state" not in state or not ("params" in state or "param_groups" in state):
        inside = [key for key, value in state.items() if isinstance(value, Mapping) and "state" in value]
        hint = f" Pass the entry {shown(inside[0])} of it." if inside else ""
        raise CheckpointError(
            f"this is no optimizer state: it must have `state` and either `params` or `param_groups`, and has "
            f"{listing([shown(key) for key in state], 10)}.{hint}"
        )
    return _torch_layout(state, names, given) if "param_groups" in state else _our_layout(state, names)


def _our_layout(state: Mapping[str, Any], names: KnownNames) -> SavedState:
    if state.get("version") != VERSION:
        raise CheckpointError(f"the state has version {shown(state.get('version'))}; this optimbuild reads {VERSION}")
    params, entries = state["params"], state["state"]
    if not all(isinstance(given, Mapping) for given in params.values()):
        raise CheckpointError("every entry of `params` must be a mapping of options")
    called = names.of_saved(dict.fromkeys([*params, *entries]))
    groups = {called[name]: given for name, given in params.items()}
    by_name = {called[name]: _entries(name, found) for name, found in entries.items()}
    stray = [shown(name) for name in by_name if name not in groups]
    if stray:
        raise CheckpointError(
            f"no entry in `params` for {counted(len(stray), 'parameter')} with state: {listing(stray)}"
        )
    return SavedState(
        {name: found for name, found in by_name.items() if found}, groups, OURS, str(state["fingerprint"])
    )


def _flat_layout(state: Mapping[str, Any], names: KnownNames) -> SavedState:
    """Read what torch's ``get_optimizer_state_dict`` returns flattened, as torchtitan saves it: one key per value."""
    groups: dict[str, dict[str, Any]] = {}
    values: dict[str, dict[str, Any]] = {}
    for key, value in state.items():
        kind, _, rest = key.partition(".")
        name, _, entry = rest.rpartition(".")
        table = groups if kind == "param_groups" else values
        table.setdefault(name, {})[entry] = value
    called = names.of_saved(dict.fromkeys([*values, *groups]))
    by_name = {called[name]: _entries(name, found) for name, found in values.items()}
    complete = {called[name]: groups.get(name, {}) for name in called}
    return SavedState({n: found for n, found in by_name.items() if found}, complete, "torch, flattened by name")


def _torch_layout(state: Mapping[str, Any], names: KnownNames, given: GivenNames) -> SavedState:
    groups: Sequence[Mapping[str, Any]] = state["param_groups"]
    ids = [key for group in groups for key in group["params"]]
    if len(set(ids)) != len(ids):
        raise CheckpointError("the saved groups have the same parameter more than once")
    called, layout = _names_of(groups, ids, state["state"], names, given)
    if len(set(called)) != len(called):
        twice = sorted({name for name in called if called.count(name) > 1})
        raise CheckpointError(f"{counted(len(twice), 'name')} in the saved groups more than once: {listing(twice)}")
    name_of = dict(zip(ids, called, strict=True))
    stray = [shown(key) for key in state["state"] if key not in name_of]
    if stray:
        raise CheckpointError(f"the saved state has entries that are in no group: {listing(stray)}")
    group_of = dict(zip(called, [group for group in groups for _ in group["params"]], strict=True))
    by_name = {name_of[key]: _entries(name_of[key], found) for key, found in state["state"].items()}
    return SavedState({name: found for name, found in by_name.items() if found}, group_of, layout)


def _names_of(
    groups: Sequence[Mapping[str, Any]],
    ids: list[Any],
    state: Mapping[Any, Any],
    names: KnownNames,
    given: GivenNames,
) -> tuple[list[str], str]:
    """Return the names of the saved parameters, in the order of the groups, and the layout in words."""
    if given is not None:
        sizes = [len(group["params"]) for group in groups]
        return [names.canonical(name) for name in given_names(given, sizes, names.model)], "torch, with given names"
    if ids and all(isinstance(key, str) for key in ids):
        return [names.canonical(key) for key in ids], "torch, keyed by name"
    full = [group for group in groups if len(group["params"])]
    if all(len(group.get("param_names") or ()) == len(group["params"]) for group in full):
        return [names.canonical(name) for group in full for name in group["param_names"]], "torch, with param_names"
    for group in full:
        if group.get("param_names"):
            counts = f"{counted(len(group['param_names']), 'name')} for {counted(len(group['params']), 'parameter')}"
            raise CheckpointError(
                f"a saved group has {counts} in its `param_names`, or others have none: it was altered"
            )
    singles = all(len(group["params"]) == 1 for group in full)
    for key in ("name", "param_name"):
        if singles and all(isinstance(group.get(key), str) for group in full):
            return [names.canonical(group[key]) for group in full], f"one group a parameter, with `{key}`"
    if singles or len(full) == 1:
        order = names.in_model_order(len(ids))
        if order is not None:
            return order, "one unnamed group a parameter, in module order" if singles else "unnamed, in module order"
        counts = " or ".join(dict.fromkeys(str(len(order)) for order in names.orders))
        why = (
            f"it holds {len(ids)} and the model has {counts}" if counts else "the optimizer has no plan that names them"
        )
    else:
        return proved_names(full, state, names)
    raise nothing_says(why, names)


def _entries(name: str, found: Any) -> dict[str, Any]:
    """Return what was kept for a parameter, without the entries that are None: SGD and ZeRO wrote those."""
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise CheckpointError(f"the saved state of {shown(name)} must be a mapping, not {shown(found)}")
    for key in found:
        if type(key) is not str:
            raise CheckpointError(f"the saved state of {shown(name)} has the key {shown(key)}, which is no text")
    return {key: value for key, value in found.items() if value is not None}
