"""Plans as JSON: read back, with the checksum that shows whether somebody altered one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optimbuild.config.spec import Spec
from optimbuild.errors import ModelError
from optimbuild.messages import shown
from optimbuild.model.inventory import Inventory
from optimbuild.plan.decision import Setting
from optimbuild.values import plain

VERSION = 1
"""The version of the form in which plans are saved."""


@dataclass(frozen=True)
class SavedPlan:
    """What a saved plan holds.

    Args:
        spec: The canonical config.
        inventory: The model's parameters and hints.
        settings: The distinct settings: of the groups that a rule put in an order first, then in first-seen order.
        rows: For every parameter its setting.
        warnings: What the user should know.
        notes: Where rules took their knowledge from.
        kept_statistics: The modules whose running statistics stay as they are.
        fingerprint: That of the plan that was saved.
    """

    spec: Spec
    inventory: Inventory
    settings: tuple[Setting, ...]
    rows: tuple[Setting, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    kept_statistics: tuple[str, ...]
    fingerprint: str


def read_plan(text: str) -> SavedPlan:
    """Return what a plan's JSON text holds.

    Raises:
        ModelError: The text is not a plan, or its checksum is not that of its content.
    """
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise ModelError(f"not a plan of version {VERSION}")
        data.pop("memory", None)  # which `optimbuild plan --world-size N --json` adds
        if data.pop("checksum", None) != checksum(data):
            raise ModelError("the plan was altered: its checksum is not that of its content")
        ordered = {str(group["name"]): _setting_of(group, str(group["name"])) for group in _ordered(data["groups"])}
        names = {i: str(group.get("name", "")) for i, group in enumerate(data["groups"])}
        rows = tuple([_setting_of(row, names.get(row["group"], "")) for row in data["params"]])
        inventory = Inventory.from_dict({**data, "unfused": data["unfused"], "sharded": data["sharded"]})
        return SavedPlan(
            Spec.of(data["spec"], "spec"),
            replace(inventory, on_cpu=data.get("on_cpu") is True),
            tuple({setting.key: setting for setting in (*ordered.values(), *rows)}.values()),
            rows,
            tuple(data["warnings"]),
            tuple(data["notes"]),
            tuple(data.get("kept_statistics", ())),
            data["fingerprint"],
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"not a plan: {type(error).__name__}: {shown(str(error), 200)}") from None


def checksum(data: Mapping[str, Any]) -> str:
    """Return a digest of everything that a saved plan holds, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _ordered(groups: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the groups that a rule put in an order: the first ones, up to one without a name or with one again."""
    seen: set[str] = set()
    for group in groups:
        if not group.get("name") or group["name"] in seen:
            return
        seen.add(group["name"])
        yield group


def _setting_of(row: Mapping[str, Any], group: str) -> Setting:
    return Setting(row["options"] is None, row["optimizer"], row["options"] and plain(row["options"]), group)
