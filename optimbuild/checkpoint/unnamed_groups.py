"""Names for saved groups that have none: given by the caller, or proved by the shapes of the state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from optimbuild.checkpoint.known_names import KnownNames
from optimbuild.checkpoint.known_splits import Split, known_splits
from optimbuild.checkpoint.state_entries import mismatch
from optimbuild.checkpoint.told import called
from optimbuild.errors import CheckpointError
from optimbuild.messages import counted, listing, shown
from optimbuild.model.survey import survey

GivenNames = Sequence[Any] | Callable[[nn.Module], Iterable[Any]] | None
"""Names of saved groups: a list for each group, or the function that made the groups of a model."""


def names_of(groups: Any, model: nn.Module) -> list[list[str]]:
    """Return the names of the parameters in each group of a live optimizer.

    Args:
        groups: ``optimizer.param_groups``, the optimizer itself, or what a function that makes groups returns: for
            each group a dict with ``params``, or a list; of tensors, names, or ``(name, tensor)`` pairs.
        model: The module that has the parameters.

    Returns:
        A list of names for each group, its own ``param_names`` where it has some; to be saved beside
        ``optimizer.state_dict()`` and passed as ``names=`` to :func:`~optimbuild.checkpoint.load_optimizer_state`.

    Raises:
        CheckpointError: A tensor is not in the model.

    >>> import torch
    >>> model = torch.nn.Linear(2, 2)
    >>> names_of(torch.optim.SGD([{"params": [model.bias]}, {"params": [model.weight]}]), model)
    [['bias'], ['weight']]
    """
    surveyed = survey(model)
    known = {id(tensor): name for tensor, name in zip(surveyed.tensors, surveyed.inventory.names, strict=True)}
    if isinstance(groups, Optimizer):
        groups = groups.param_groups
    if not isinstance(groups, Iterable) or isinstance(groups, (str, Mapping)):
        raise CheckpointError(f"groups must be a list, not {shown(groups)}")
    found = list(groups)
    if found and all(isinstance(one, (torch.Tensor, str, tuple)) for one in found):
        found = [found]  # one group, as model.parameters()
    return [_names_of_group(group, index, known) for index, group in enumerate(found)]


def _names_of_group(group: Any, index: int, known: Mapping[int, str]) -> list[str]:
    members = group.get("params") if isinstance(group, Mapping) else group
    given = group.get("param_names") if isinstance(group, Mapping) else None
    if given and len(given) == len(members or ()):
        return list(given)
    members = [members] if isinstance(members, torch.Tensor) else members
    if not isinstance(members, Iterable) or isinstance(members, str):
        raise CheckpointError(f"group {index} must be a list of tensors or names, not {shown(group)}")
    names = []
    for member in members:
        name = member[0] if isinstance(member, tuple) and member else member
        name = known.get(id(name)) if isinstance(name, torch.Tensor) else name
        if not isinstance(name, str):
            what = f"a tensor of shape {tuple(member.shape)}" if isinstance(member, torch.Tensor) else shown(member)
            raise CheckpointError(f"group {index} has {what}, which is no parameter of the model")
        names.append(name)
    return names


def given_names(given: GivenNames, sizes: Sequence[int], model: nn.Module | None) -> list[str]:
    """Return the names that the caller gave, in the order of the saved groups.

    Args:
        given: The names, by group, or a function of the model.
        sizes: The number of parameters in each saved group.
        model: The optimizer's model, for a function.

    Raises:
        CheckpointError: They are not as many as were saved, or the function needs a model that is not known.
    """
    if callable(given):
        if model is None:
            raise CheckpointError(
                "`names` is a function of the model, which this optimizer does not know. Pass what it returns: "
                "names=names_of(groups(model), model)"
            )
        function = given
        given = called("names", lambda one: names_of(function(one), one), model)
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise CheckpointError(f"names must be a list of names for each saved group, not {shown(given)}")
    lists = [list(given)] if all(isinstance(one, str) for one in given) else [list(one) for one in given]
    full = [one for one in lists if one]
    if [len(one) for one in full] != [size for size in sizes if size]:
        raise CheckpointError(
            f"names has groups of {listing([str(len(one)) for one in full], 10)} names, and the saved groups have "
            f"{listing([str(size) for size in sizes], 10)} parameters"
        )
    names = [name for one in full for name in one]
    if not all(isinstance(name, str) for name in names):
        raise CheckpointError("every name in `names` must be a text")
    return names


def proved_names(
    groups: Sequence[Mapping[str, Any]], state: Mapping[Any, Any], names: KnownNames
) -> tuple[list[str], str]:
    """Return the names of saved groups that have none, and the layout in words, where only one split fits.

    Args:
        groups: The saved groups that have parameters.
        state: The saved state by position.
        names: The names of the optimizer's model.

    Raises:
        CheckpointError: No known split fits, or several that differ.
    """
    fitting: dict[tuple[tuple[str, ...], ...], str] = {}
    for order in {tuple(order): order for order in names.orders if len(order) == _count(groups)}.values():
        for split in known_splits(names.plan, order):
            if _fits(split, groups, state, names):
                fitting.setdefault(split.groups, split.called)
    if len(fitting) == 1:
        ((found, called),) = fitting.items()
        return [name for group in found for name in group], f"unnamed groups in module order ({called})"
    why = f"its {len(groups)} groups hold several parameters each, so their order says nothing"
    if fitting:
        why = f"more than one way to split the model fits ({', '.join(sorted(set(fitting.values())))})"
    elif names.orders:
        why += f", and none of the known ways to split the model's parameters fits {counted(_count(groups), 'tensor')}"
    raise nothing_says(why, names)


def nothing_says(why: str, names: KnownNames) -> CheckpointError:
    """Return the error for saved groups of which nothing tells the parameters.

    Args:
        why: Why their order does not.
        names: The names of the model, with what to say that helps.
    """
    return CheckpointError(
        "nothing says which state belongs to which parameter: the saved groups have no `param_names` or `name`, "
        f"and {why}. {names.recipe}"
    )


def _count(groups: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(group["params"]) for group in groups)


def _fits(split: Split, groups: Sequence[Mapping[str, Any]], state: Mapping[Any, Any], names: KnownNames) -> bool:
    """Say whether a split has the saved number of parameters in each group, with their shapes and weight decay."""
    if [len(group) for group in split.groups] != [len(group["params"]) for group in groups]:
        return False
    decay = {decays: group.get("weight_decay") for decays, group in zip(split.decays, groups, strict=True)}
    if True in decay and not decay[True] and decay.get(False):
        return False  # whoever leaves parameters without weight decay does so to these, and not to the others
    keys = [key for group in groups for key in group["params"]]
    called = [name for group in split.groups for name in group]
    return all(
        _can_be_of(state.get(key), name, split.shapes[name], names) for key, name in zip(keys, called, strict=True)
    )


def _can_be_of(entries: Any, name: str, shape: tuple[int, ...], names: KnownNames) -> bool:
    """Say whether a parameter's saved state can be of the parameter of this name and shape."""
    if not isinstance(entries, Mapping):
        return True
    kept = {key: value for key, value in entries.items() if value is not None}
    expected = names.kept_entries(name)
    if expected is not None and kept.keys() == expected.keys():
        return not any(mismatch(value, expected[key], names.param(name)) for key, value in kept.items())
    shapes = [tuple(value.shape) for value in kept.values() if isinstance(value, torch.Tensor) and value.ndim]
    return not shapes or shape in shapes
