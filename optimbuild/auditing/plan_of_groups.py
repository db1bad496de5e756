"""The plan that groups amount to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optimbuild.auditing.found import Found, FoundGroup
from optimbuild.auditing.settings import SettingReader
from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError
from optimbuild.plan.decision import FROZEN, Setting
from optimbuild.plan.plan import Plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import KERNELS, Implementation


def plan_of_groups(found: Found, rates: Sequence[float | None]) -> Plan:
    """Return the plan that groups amount to: what each parameter gets.

    A parameter that is in no group, or that needs no gradient, is frozen. One in several groups gets what the last
    of them gives. An optimizer that optimbuild built, and that still does what its plan says, has that plan.

    Args:
        found: The groups.
        rates: The LR of each group, before a scheduler moved it.
    """
    by_group = _settings_of_groups(found, rates)
    rows = [by_group[groups[-1]] if groups and param.trainable else FROZEN for param, groups in found.with_groups()]
    index: dict[tuple[Any, ...], int] = {}
    settings: list[Setting] = []
    number_of: dict[int, int] = {}
    for row in {id(row): row for row in rows}.values():
        number_of[id(row)] = index.setdefault(row.key, len(settings))
        if number_of[id(row)] == len(settings):
            settings.append(row)
    chosen = tuple([number_of[id(row)] for row in rows])
    plan = _with_spec(found, tuple(settings), chosen)
    return found.built if found.built is not None and not plan.diff(found.built) else plan


def _settings_of_groups(found: Found, rates: Sequence[float | None]) -> list[Setting]:
    reader = SettingReader()
    return [
        reader.setting(group, rate, _planned(found, group)) for group, rate in zip(found.groups, rates, strict=True)
    ]


def _planned(found: Found, group: FoundGroup) -> Setting | None:
    """Return what the plan of a built optimizer gives to the first parameter of a group, where it is of its type."""
    if found.built is None or not group.positions:
        return None
    planned = found.built.settings[found.built.chosen[group.positions[0]]]
    is_same = planned.optimizer is not None and find_optimizer(planned.optimizer).load() is group.kind.load()
    return planned if is_same else None


def _with_spec(found: Found, settings: tuple[Setting, ...], chosen: tuple[int, ...]) -> Plan:
    """Return the plan under a config of its most common setting, which says what a config can say."""
    common = Counter(chosen)
    trained = [index for index, setting in enumerate(settings) if not setting.frozen]
    notes = (f"read from {found.source}: no rule of a config led to it",)

    def plan(more: Mapping[str, Any]) -> Plan:
        return Plan(Spec.of({**base, **more}), found.inventory, settings, chosen, (), notes, found.kept)

    first = settings[max(trained, key=lambda index: common[index])] if trained else None
    name = found.groups[0].kind.name if first is None else str(first.optimizer)
    options = {} if first is None else _sayable(name, first.options or {})
    base: dict[str, Any] = {"optimizer": {"type": name, **options}, "zero": found.sharded}
    kernels = {kernel_of(group, found) for group in found.groups}
    if len(kernels) == 1 and (kernel := kernels.pop()) is not None:
        try:
            made = plan({"implementation": kernel})
            _ = made.groups  # refuses a kernel that the tensors do not allow
            return made
        except ConfigError:
            pass
    return plan({})


def _sayable(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a config can give to an optimizer."""
    kind = find_optimizer(name)
    given = {key: value for key, value in options.items() if key in kind.known and value is not None}
    try:
        kind.complete(given)
    except ConfigError:
        return {}
    return given


def kernel_of(group: FoundGroup, found: Found) -> Implementation | None:
    """Return how the step of a group is computed; None where its class has one way only, or for a file."""
    if not found.is_live or len(group.kind.implementations) == 1:
        return None
    asked = [kernel for kernel in KERNELS if group.entries.get(kernel)]
    if asked:
        return asked[0]
    on_accelerator = not found.inventory.on_cpu and group.entries.get("foreach") is None
    return "foreach" if on_accelerator and "foreach" in group.kind.implementations else "for-loop"
