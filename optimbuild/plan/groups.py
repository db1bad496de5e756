"""Groups: parameters with equal settings are merged into one, in first-seen order."""

from __future__ import annotations

from collections import Counter
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
        The distinct settings, and for every parameter the index of its setting. Those of groups that a rule put in an
        order come first, in that order, whether or not a parameter has them; the others are in first-seen order.

    Raises:
        ConfigError: As :meth:`Fold.setting`; the error is that of the first parameter that has one.
    """
    tables = [rule.edits.table for rule in rules]
    rows = list(zip(trainable, *map(_by_effect, rules), strict=True))
    index_of: dict[Any, int] = {}
    chosen: dict[tuple[Any, ...], int] = {}
    settings: list[Setting] = []
    for row in dict.fromkeys(rows):
        edits = [(i, edit) for i, number in enumerate(row[1:]) if (edit := tables[i][number]) is not None]
        setting = fold.setting(row[0], edits)
        index = index_of.setdefault(setting.key, len(settings))
        if index == len(settings):
            settings.append(setting)
        chosen[row] = index
    order = _order(settings, fold, rules)
    if order:
        place = {index: place for place, (index, _) in enumerate(order)}
        chosen = {row: place[index] for row, index in chosen.items()}
        settings = [setting for _, setting in order]
    return tuple(settings), tuple(map(chosen.__getitem__, rows))


def _order(settings: Sequence[Setting], fold: Fold, rules: Sequence[Applied]) -> list[tuple[int | None, Setting]]:
    """Return settings in the order that rules ask for, each with its index; that of a group without parameters is None.

    Nothing is returned where no rule asks for an order. Of several settings in a group of one name the first counts.
    """
    asked = {name: (i, edit) for i, rule in enumerate(rules) for name, edit in rule.edits.groups.items()}
    if not asked:
        return []
    first = {setting.group: index for index, setting in reversed(list(enumerate(settings)))}
    ordered = [
        (first[name], settings[first[name]]) if name in first else (None, fold.setting(True, [wanted]))
        for name, wanted in asked.items()
    ]
    placed = {index for index, _ in ordered}
    rest = [(index, setting) for index, setting in enumerate(settings) if index not in placed]
    return [*ordered, *rest]


def split_groups(settings: Sequence[Setting]) -> list[str]:
    """Return a warning for each group that a rule named, and that different options split."""
    counts = Counter([setting.group for setting in settings if setting.group])
    return [
        f"the group {name!r} is split, because rules give its parameters {count} different settings: the first keeps "
        "its place in the order, and the others come behind the ordered groups, where who counts groups does not look"
        for name, count in counts.items()
        if count > 1
    ]


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
    kinds = {name: find_optimizer(name) for name in {setting.optimizer for setting in settings} if name is not None}
    for setting, positions in zip(settings, members, strict=True):
        if setting.optimizer is not None:
            kind, options = kinds[setting.optimizer], setting.options or {}
            params = [model.params[position] for position in positions]
            shapes = [param.shape for param in params]
            unable = cannot_fuse(model, kind, params)
            how = implementation(spec, kind, options, unable, shapes if model.on_cpu else None)
            names = tuple([param.name for param in params])
            found.append(Group(kind.name, options, names, shapes, how, setting.group))
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
    options = [repr(dict(given)) if given else "" for given in (edit.set, edit.scale, edit.marks)]
    return f"{'/'.join(options)}/{edit.freeze}/{edit.optimizer!r}/{edit.group!r}"
