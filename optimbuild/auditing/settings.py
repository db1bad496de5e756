"""The setting of a group: its optimizer and all of its options, as a plan has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optimbuild.auditing.found import FoundGroup
from optimbuild.checkpoint.constructor import constructor_arguments
from optimbuild.checkpoint.group_options import IMPLEMENTATION, INITIAL, NO_OPTIONS, PLAIN, SCHEDULES, plain_option
from optimbuild.errors import ConfigError
from optimbuild.plan.decision import MEMBER, Setting
from optimbuild.plan.fold import RESERVED
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import KERNELS, OptimizerType

LABELS = frozenset(("group_name", "layer_name", "group"))
"""More keys under which somebody names a group."""

SERVICE = NO_OPTIONS | SCHEDULES | LABELS | frozenset(RESERVED)
"""The keys of a group that are no options of its optimizer, and that something else reads."""


def is_option(key: str) -> bool:
    """Say whether a key of a group may be an option, or a mark, of its parameters."""
    return key not in SERVICE and not key.startswith(INITIAL)


def options_key(group: Mapping[str, Any]) -> str:
    """Return a key that is the same for groups of one optimizer whose entries are equal, but for names.

    >>> options_key({"params": [], "lr": 0.1, "name": "a"}) == options_key({"params": [1], "lr": 0.1, "name": "b"})
    True
    """
    counted = [(key, value) for key, value in group.items() if key == MEMBER or key not in SERVICE]
    return repr(sorted(counted, key=lambda entry: entry[0]))


class SettingReader:
    """Reads the settings of groups; equal groups share one."""

    def __init__(self) -> None:
        self._known: dict[str, Setting] = {}

    def setting(self, group: FoundGroup, lr: float | None, planned: Setting | None = None) -> Setting:
        """Return the setting of a group.

        Args:
            group: The group.
            lr: Its LR, before a scheduler moved it.
            planned: What the plan of an optimizer that optimbuild built gives to its parameters.
        """
        raw = {key: plain_value(value) for key, value in group.entries.items() if is_option(key)}
        if lr is not None:
            raw["lr"] = plain_value(lr)
        about_plan = () if planned is None else (planned.group, repr(planned.options))
        key = repr((group.kind.name, id(group.stepper), sorted(raw.items()), about_plan))
        if key not in self._known:
            self._known[key] = _setting(group, raw, planned)
        return self._known[key]


def plain_value(value: Any) -> Any:
    """Return a value as plain data; None for what no config can say, such as a function or infinity."""
    plain = value if type(value) in PLAIN else plain_option(value)
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    if isinstance(plain, tuple):
        return tuple(map(plain_value, plain))
    return plain if type(plain) in PLAIN else None


def _kind(group: FoundGroup, planned: Setting | None) -> OptimizerType:
    """Return the type that a plan names, where a group still has what that type fixes."""
    if planned is None:
        return group.kind
    named = find_optimizer(str(planned.optimizer))
    has_all = all(plain_value(group.entries.get(key, value)) == value for key, value in named.fixed.items())
    return named if has_all else group.kind


def _setting(group: FoundGroup, raw: Mapping[str, Any], planned: Setting | None) -> Setting:
    kind, stepper = _kind(group, planned), group.stepper
    of_class = stepper.defaults.keys() | kind.known | IMPLEMENTATION
    marks = {key: value for key, value in raw.items() if key not in of_class}
    kept = constructor_arguments(stepper, group.entries) or {}  # what the class keeps for all groups at once
    everything = {**{key: plain_value(value) for key, value in {**stepper.defaults, **kept}.items()}, **raw}
    given = {key: value for key, value in everything.items() if key in kind.known and key not in KERNELS}
    try:
        options = kind.complete({key: value for key, value in given.items() if value is not None or key in raw})
    except ConfigError:  # a value that no config may have is told as it is
        options = dict(given)
    before = {} if planned is None else dict(planned.options or {})
    options |= {key: everything.get(key) for key in KERNELS if key in before}
    computed = {
        key: None
        for key, value in before.items()
        if value is None and plain_value(stepper.defaults.get(key)) == options.get(key)
    }
    return Setting(False, kind.name, {**options, **computed, **marks}, "" if planned is None else planned.group)
