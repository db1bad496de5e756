"""The options of groups: what all of an optimizer's groups share, and columns of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.messages import counted
from optimbuild.registry import find_optimizer
from optimbuild.report.interfaces import GroupView
from optimbuild.report.notation import column_texts, option_text

ALWAYS = ("lr", "weight_decay")
"""The options that have a column even where all groups share them."""
LEFT = ("name", "optimizer", "implementation", "shape")
"""The columns of words."""


def by_optimizer(groups: Sequence[GroupView]) -> dict[str, list[GroupView]]:
    """Return the groups of each optimizer."""
    found: dict[str, list[GroupView]] = {}
    for group in groups:
        found.setdefault(group.optimizer, []).append(group)
    return found


def shared_options(groups: Sequence[GroupView]) -> dict[str, Any]:
    """Return the options that all groups of an optimizer share, without those that always have a column."""
    found = {key: value for key, value in groups[0].options.items() if key not in ALWAYS}
    for group in groups:
        found = {key: value for key, value in found.items() if _has(group, key, value)}
    return found


def _has(group: GroupView, key: str, value: Any) -> bool:
    if key not in group.options:
        return False
    own = group.options[key]
    return own is value or repr(own) == repr(value)


def option_columns(groups: Sequence[GroupView], rows: Sequence[GroupView]) -> dict[str, list[str]]:
    """Return the columns of options by their headings, with those of names and kernels where they differ.

    Args:
        groups: All groups of the plan, which decide what has a column.
        rows: The group of each row.
    """
    optimizers = by_optimizer(groups)
    columns = {"name": [group.name for group in rows]} if any(group.name for group in groups) else {}
    if len(optimizers) > 1:
        columns["optimizer"] = [group.optimizer for group in rows]
    columns |= columns_of_options(groups, rows)
    if any(len({group.implementation for group in its_groups}) > 1 for its_groups in optimizers.values()):
        columns["implementation"] = [group.implementation for group in rows]
    return columns


def columns_of_options(groups: Sequence[GroupView], rows: Sequence[GroupView] | None = None) -> dict[str, list[str]]:
    """Return a column for each option that an optimizer's groups do not share, and for those that always have one.

    Args:
        groups: All groups of the plan.
        rows: The group of each row; by default every group has one.
    """
    rows = groups if rows is None else rows
    shared = {name: shared_options(its_groups) for name, its_groups in by_optimizer(groups).items()}
    varying = {key: None for group in groups for key in group.options if key not in shared[group.optimizer]}
    columns = {}
    for key in dict.fromkeys([*ALWAYS, *varying]):
        with_it = [key in group.options and key not in shared[group.optimizer] for group in rows]
        cells = iter(column_texts([g.options[key] for g, has_it in zip(rows, with_it, strict=True) if has_it]))
        columns[key] = [next(cells) if has_it else "" for has_it in with_it]
    return columns


def optimizer_text(name: str, groups: Sequence[GroupView]) -> str:
    """Return an optimizer in words: its kernels, the number of its groups, and the options that these share.

    Args:
        name: Its name.
        groups: Its groups.
    """
    kernels = dict.fromkeys(group.implementation for group in groups)
    head, shared = ", ".join([name, *kernels, counted(len(groups), "group")]), shared_options(groups)
    return f"{head}; {options_text(name, shared)}" if shared else head


def options_text(optimizer: str, options: Mapping[str, Any]) -> str:
    """Return options as text; a switch that is off is left out unless the optimizer fixes it."""
    fixed = find_optimizer(optimizer).fixed
    mentioned = {key: value for key, value in options.items() if value is not False or key in fixed}
    return ", ".join(f"{key} {option_text(value)}{' (fixed)' * (key in fixed)}" for key, value in mentioned.items())
