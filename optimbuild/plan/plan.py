"""The plan: what every single parameter gets, and why, before one tensor is touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING, Any

from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError, ModelError, UnknownNameError
from optimbuild.messages import listing, shown
from optimbuild.model._columns import Column
from optimbuild.model.inventory import Inventory
from optimbuild.model.inventory_file import param_to_dict
from optimbuild.plan.apply import Applied, bound, edit_for, made_rule
from optimbuild.plan.check import complaints
from optimbuild.plan.decision import Decision, Group, Setting, Step
from optimbuild.plan.diff import PlanDiff
from optimbuild.plan.fold import Base, changes, folded
from optimbuild.plan.kernels import FUSABLE, implementation
from optimbuild.plan.partition import fallbacks
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import plain

if TYPE_CHECKING:
    from optimbuild.plan.memory import Memory

VERSION = 1


@dataclass(frozen=True)
class Plan:
    """A config applied to a model: one decision a parameter. Nothing is touched before it is built.

    Make one with :func:`optimbuild.make_plan`.

    Args:
        spec: The canonical config.
        inventory: The model's parameters and hooks.
        settings: The distinct settings, in first-seen order; trainable ones are the groups.
        chosen: For every parameter the index of its setting.
        warnings: What the user should know.
        notes: Where rules took their knowledge from.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.01},
    ...                   "rules": [{"type": "no_decay"}]}, model)
    >>> plan["fc.bias"].weight_decay, plan["fc.weight"].weight_decay, len(plan.groups)
    (0.0, 0.01, 2)
    >>> print(plan.explain("fc.bias")[0])
    no_decay: weight_decay: 0.01 → 0.0 (bias)
    """

    spec: Spec
    inventory: Inventory
    settings: tuple[Setting, ...]
    chosen: tuple[int, ...] = field(repr=False)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Decision]:
        return map(self._decision, range(len(self.chosen)))

    def __getitem__(self, name: str) -> Decision:
        return self._decision(self.inventory.position(name))

    def __contains__(self, name: object) -> bool:
        return name in self.inventory

    def _decision(self, position: int) -> Decision:
        setting = self.settings[self.chosen[position]]
        group = self._group_of[self.chosen[position]]
        return Decision(self.inventory.params[position], setting.frozen, setting.optimizer, setting.options, group)

    @cached_property
    def _group_of(self) -> list[int | None]:
        trainable = iter(range(len(self.settings)))
        return [None if setting.frozen else next(trainable) for setting in self.settings]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The parameter groups, in first-seen order."""
        kinds = {name: find_optimizer(name) for name in {s.optimizer for s in self.settings} if name is not None}
        unfused = {name: self._unfused(kind) for name, kind in kinds.items()}
        names, shapes, on_cpu = self.inventory.names, self.inventory.columns.shapes, self.inventory.on_cpu
        groups = []
        for setting, members in zip(self.settings, self.members, strict=True):
            if setting.optimizer is None:
                continue
            kind, options, out = kinds[setting.optimizer], setting.options or {}, unfused[setting.optimizer]
            its_names, its_shapes = tuple([names[i] for i in members]), [tuple(shapes[i]) for i in members]
            unable = [name for name in its_names if name in out] if out else ()
            how = implementation(self.spec, kind, options, unable, its_shapes if on_cpu else None)
            groups.append(Group(kind.name, options, its_names, its_shapes, how))
        return tuple(groups)

    @cached_property
    def members(self) -> Sequence[Sequence[int]]:
        """For every setting the positions of its parameters, in model order."""
        members: list[list[int]] = [[] for _ in self.settings]
        for position, setting in enumerate(self.chosen):
            members[setting].append(position)
        return members

    def _unfused(self, kind: OptimizerType) -> frozenset[str]:
        """Return the names that no fused kernel of an optimizer can take."""
        inventory = self.inventory
        names = inventory.unfused if kind.fuses_shards else inventory.unfused | inventory.sharded
        if FUSABLE.issuperset(inventory.columns.dtypes):
            return names
        pairs = zip(inventory.names, inventory.columns.dtypes, strict=True)
        return names | {name for name, dtype in pairs if dtype not in FUSABLE}

    @property
    def frozen(self) -> tuple[str, ...]:
        """The names of the frozen parameters, in model order."""
        out = [setting.frozen for setting in self.settings]
        return tuple(compress(self.inventory.names, map(out.__getitem__, self.chosen)))

    @property
    def trainable_dtypes(self) -> frozenset[str]:
        """The dtypes of the parameters that are not frozen."""
        trains = [not setting.frozen for setting in self.settings]
        return frozenset(compress(self.inventory.columns.dtypes, map(trains.__getitem__, self.chosen)))

    def memory(self, world_size: int = 1) -> Memory:
        """Return what parameters, gradients and optimizer state take on each rank, without building anything.

        With ``zero`` the state is sharded; without it every rank keeps all of it.

        Args:
            world_size: The number of ranks, at least 1.

        Raises:
            ConfigError: The world size is no whole number from 1, or the state of an optimizer cannot be foreseen.

        >>> from optimbuild import Inventory, ParamInfo, make_plan
        >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
        >>> memory = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}, "zero": True}, model).memory(world_size=2)
        >>> [rank.state for rank in memory.ranks], memory.largest.parameters
        ([64, 16], 80)
        """
        from optimbuild.plan.memory import memory_of

        return memory_of(self, world_size)

    @cached_property
    def rules(self) -> tuple[Any, ...]:
        """The rules, with their options."""
        return tuple(made_rule(rule, f"rules[{i}]") for i, rule in enumerate(self.spec.rules))

    def explain(self, name: str) -> tuple[Step, ...]:
        """Return every step that led to a parameter's setting, in order; it folds again.

        Raises:
            ModelError: No parameter has this name.
        """
        param = self.inventory[name]
        calls = [
            bound(rule, spec, f"rules[{i}]", self.inventory)
            for i, (rule, spec) in enumerate(zip(self.rules, self.spec.rules, strict=True))
        ]
        edits = [(i, edit) for i, call in enumerate(calls) if (edit := edit_for(call, param)) is not None]
        why = {position: edit.why for position, edit in edits}
        found = changes(param.trainable, edits, base_options(self.spec))
        return tuple(Step(self.spec.rules[i].type, why[i], before, after, i) for i, before, after in found)

    def diff(self, other: Plan) -> PlanDiff:
        """Return what differs in ``other``, by parameter and option."""
        before, after = self._options(), other._options()
        if before.names == after.names:
            return PlanDiff.aligned(before, after)
        return PlanDiff.between(before.complete(), after.complete())

    def _options(self) -> Column[Mapping[str, Any]]:
        """Return the optimizer and the options of each parameter that is not frozen."""
        options = [None if s.frozen else {"optimizer": s.optimizer, **(s.options or {})} for s in self.settings]
        number = [0 if setting.frozen else place for place, setting in enumerate(self.settings, start=1)]
        return Column(self.inventory.names, list(map(number.__getitem__, self.chosen)), [None, *options])

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what every parameter gets. It is the same in any process, and for a wrapped model."""
        digest = hashlib.sha256()
        table = [(s.optimizer, sorted((s.options or {}).items())) for s in self.settings]
        digest.update(json.dumps(table).encode())
        for name, shape, setting in zip(self.inventory.names, self.inventory.columns.shapes, self.chosen, strict=True):
            digest.update(f"{name}\0{tuple(shape)}\0{setting}\n".encode())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        kinds = base_options(self.spec)(None)
        data: dict[str, Any] = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "optimizer": {"type": kinds[0].name, "options": kinds[1]},
            "params": [
                {
                    **param_to_dict(d.param),
                    "frozen": d.frozen,
                    "optimizer": d.optimizer,
                    "options": d.options and dict(d.options),
                    "group": d.group,
                }
                for d in self
            ],
            "groups": [
                {
                    "optimizer": group.optimizer,
                    "options": dict(group.options),
                    "params": list(group.params),
                    "numel": group.numel,
                    "implementation": group.implementation,
                }
                for group in self.groups
            ],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "spec": self.spec.to_dict(),
            "model": self.inventory.model,
            "hooks": self.inventory.hooks.answers,
            "unfused": sorted(self.inventory.unfused),
            "sharded": sorted(self.inventory.sharded),
            "on_cpu": self.inventory.on_cpu,
        }
        return {**data, "checksum": _checksum(data)}

    def to_json(self) -> str:
        """Return the plan as JSON text that :meth:`from_json` reads again."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            ModelError: The text is not a plan, or was altered: its checksum or fingerprint is not that of its content.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("version") != VERSION:
                raise ModelError(f"not a plan of version {VERSION}")
            data.pop("memory", None)  # what `optimbuild plan --world-size N --json` adds
            if data.pop("checksum", None) != _checksum(data):
                raise ModelError("the plan was altered: its checksum is not that of its content")
            keys = ("model", "params", "hooks", "unfused", "sharded")
            inventory = Inventory.from_dict({key: data[key] for key in keys})
            inventory = replace(inventory, on_cpu=data.get("on_cpu") is True)  # plans of before it was known have none
            rows = [_setting_of(row) for row in data["params"]]
            settings = {setting.key: setting for setting in rows}
            index = {key: i for i, key in enumerate(settings)}
            plan = cls(
                Spec.of(data["spec"], "spec"),
                inventory,
                tuple(settings.values()),
                tuple([index[setting.key] for setting in rows]),
                tuple(data["warnings"]),
                tuple(data["notes"]),
            )
            altered = plan.fingerprint != data["fingerprint"]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelError(f"not a plan: {type(error).__name__}: {shown(str(error), 200)}") from None
        if altered:
            raise ModelError("the plan was altered: its fingerprint is not that of its content")
        return plan

    def __str__(self) -> str:
        from optimbuild.report.plan_text import plan_text

        return plan_text(self)


def _checksum(data: Mapping[str, Any]) -> str:
    """Return a digest of everything that a saved plan holds, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _setting_of(row: Mapping[str, Any]) -> Setting:
    return Setting(row["options"] is None, row["optimizer"], row["options"] and plain(row["options"]))


def base_options(spec: Spec) -> Base:
    """Return what :func:`~optimbuild.plan.fold.changes` starts from: an optimizer by name, and its base options."""
    known: dict[str | None, tuple[OptimizerType, dict[str, Any]]] = {}

    def base(name: str | None) -> tuple[OptimizerType, dict[str, Any]]:
        if name not in known:
            kind = _optimizer(spec.optimizer.type, "optimizer.type") if name is None else find_optimizer(name)
            given = spec.optimizer.options
            if name is not None:  # another optimizer takes over what both know
                given = {key: value for key, value in given.items() if key in kind.known and key not in kind.fixed}
            known[name] = kind, kind.complete(given)
        return known[name]

    return base


def _optimizer(name: str, path: str) -> OptimizerType:
    try:
        return find_optimizer(name)
    except UnknownNameError as error:
        raise UnknownNameError(error.message, path) from None


def planned(spec: Spec, inventory: Inventory, warnings: Sequence[str] = ()) -> Plan:
    """Apply a spec to an inventory. Changes nothing.

    Args:
        spec: The canonical config.
        inventory: The model's parameters and hooks.
        warnings: What the dialect noticed.

    Raises:
        ConfigError: An unknown rule, optimizer or option, a wrong value, a rule or pattern that
            touches no parameter (unless ``strict`` is off), or everything frozen.
        ModelError: A hook of the model raised, or answered nonsense.
    """
    base = base_options(spec)
    base(None)
    applied = [Applied.of(rule, f"rules[{i}]", inventory) for i, rule in enumerate(spec.rules)]
    found = [*warnings, *complaints(applied, inventory, spec.strict)]
    notes = [note for rule in applied for note in rule.notes]
    settings, chosen = folded(inventory.columns.trainable, [rule.column for rule in applied], base)
    plan = Plan(spec, inventory, settings, chosen, tuple(found), tuple(notes))
    if all(setting.frozen for setting in settings):
        raise ConfigError(
            "every parameter is frozen, so there is nothing to optimize. Frozen: " + listing(list(plan.frozen), 5)
        )
    kernels = [(group.optimizer, group.implementation) for group in plan.groups]  # refuses an impossible one
    reasons = fallbacks(spec, plan.trainable_dtypes, kernels) if spec.sharding else ()
    return replace(plan, notes=(*notes, *reasons)) if reasons else plan
