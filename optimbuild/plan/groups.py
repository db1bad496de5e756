"""Groups: parameters with equal settings are merged into one, in first-seen order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optimbuild.config.spec import Spec
from optimbuild.edits import Edit
from optimbuild.model.inventory import Inventory
from optimbuild.plan.apply import Applied
from optimbuild.plan.decision import Group, Setting
from optimbuild.plan.fold import Fold
from optimbuild.plan.kernels import cannot_fuse, implementation
from optimbuild.registry import find_optimizer


def merged_settings(
    trainable: Sequence[bool], rules: Sequence[Applied], fold: Fold
) -> tuple[tuple[Setting, ...], tuple[int, ...]]:
    """Fold the edits of all parameters, and merge equal settings, so that their parameters share one group.

    Parameters for which all rules want the same are folded once.

    Args:
        trainable: For every parameter ``requires_grad`` before the build.
        rules: The rules, in their order.
        fold: What folds the edits of one parameter.

    Returns:
        The distinct settings, in first-seen order, and for every parameter the index of its setting.

    Raises:
        ConfigError: As :meth:`Fold.setting`; the error is that of the first parameter that has one.
    """
    tables = [rule.edits.table for rule in rules]
    rows = list(zip(trainable, *map(_by_effect, rules), strict=True))
    index_of: dict[Any, int] = {}
    chosen: dict[tuple[Any, ...], int] = {}
    settings: list[Setting] = []
    for row in dict.fromkeys(rows):
        wanted = [table[number] for table, number in zip(tables, row[1:], strict=True)]
        setting = fold.setting(row[0], [(i, edit) for i, edit in enumerate(wanted) if edit is not None])
        index = index_of.setdefault(setting.key, len(settings))
        if index == len(settings):
            settings.append(setting)
        chosen[row] = index
    return tuple(settings), tuple(map(chosen.__getitem__, rows))


def groups_of(
    spec: Spec, model: Inventory, settings: Sequence[Setting], members: Sequence[Sequence[int]]
) -> tuple[Group, ...]:
    """Return one group for each setting that is not frozen.

    Args:
        spec: The canonical config.
        model: The model's parameters.
        settings: The distinct settings.
        members: For every setting the positions of its parameters, in model order.

    Raises:
        ConfigError: The config asks for an implementation that an optimizer or its tensors do not have.
    """
    found = []
    names = {setting.optimizer for setting in settings if setting.optimizer is not None}
    kinds = {name: find_optimizer(name) for name in names}
    for setting, positions in zip(settings, members, strict=True):
        if setting.optimizer is not None:
            kind, options = kinds[setting.optimizer], setting.options or {}
            params = [model.params[position] for position in positions]
            shapes = [param.shape for param in params]
            unable = cannot_fuse(model, kind, params)
            how = implementation(spec, kind, options, unable, shapes if model.on_cpu else None)
            found.append(Group(kind.name, options, tuple([param.name for param in params]), shapes, how))
    return tuple(found)


def _by_effect(rule: Applied) -> Sequence[int]:
    """Return each parameter's edit number. Edits that differ only in their reason share the first number."""
    first: dict[str, int] = {}
    table, numbers = rule.edits.table, rule.edits.numbers
    same = {number: first.setdefault(_effect(table[number]), number) for number in dict.fromkeys(numbers)}
    return numbers if len(first) == len(same) else list(map(same.__getitem__, numbers))


def _effect(edit: Edit | None) -> str:
    """Return a text that is the same for edits that differ only in their reasons."""
    if edit is None:
        return ""
    return f"{dict(edit.set)!r}/{dict(edit.scale)!r}/{edit.freeze}/{edit.optimizer!r}"
