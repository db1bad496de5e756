"""The plan: what every single parameter gets, and why, before one tensor is touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optimbuild.diff import PlanDiff
from optimbuild.edits import Bound, Call, Edit, Setting, Step, fold
from optimbuild.errors import ConfigError, ModelError, OptimBuildError, listing, shown
from optimbuild.implementations import implementation
from optimbuild.optimizer_type import Implementation, OptimizerType
from optimbuild.params import Inventory, ParamInfo, param_to_dict
from optimbuild.patterns import Pattern, widened
from optimbuild.registry import optimizer_type, rule_class
from optimbuild.sharding import fallbacks
from optimbuild.spec import RuleSpec, Spec
from optimbuild.values import plain, validated

if TYPE_CHECKING:
    from optimbuild.memory import Memory

VERSION = 1


@dataclass(frozen=True)
class Decision:
    """What one parameter gets.

    Args:
        param: The parameter.
        frozen: Whether it stays out of training.
        optimizer: The optimizer's name; None where it is frozen.
        options: All of its options, fixed ones too; None where it is frozen.
        group: The index of its group; None where it is frozen.
    """

    param: ParamInfo
    frozen: bool
    optimizer: str | None
    options: Mapping[str, Any] | None
    group: int | None

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.param.name

    @property
    def lr(self) -> float | None:
        """Its learning rate; None where it is frozen."""
        return None if self.options is None else self.options.get("lr")

    @property
    def weight_decay(self) -> float | None:
        """Its weight decay; None where it is frozen."""
        return None if self.options is None else self.options.get("weight_decay")


@dataclass(frozen=True)
class Group:
    """Parameters with the same optimizer and the same options.

    Args:
        optimizer: The optimizer's name.
        options: All of its options.
        params: The parameters' names, in model order.
        numel: How many elements they have together.
        implementation: ``fused``, ``foreach`` or ``for-loop``.
    """

    optimizer: str
    options: Mapping[str, Any]
    params: tuple[str, ...]
    numel: int
    implementation: Implementation


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
    no_decay: weight_decay: 0.01 → 0.0 (one-dimensional)
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
        members: list[list[ParamInfo]] = [[] for _ in self.settings]
        for param, setting in zip(self.inventory.params, self.chosen, strict=True):
            members[setting].append(param)
        return tuple(
            Group(
                optimizer=str(setting.optimizer),
                options=setting.options or {},
                params=tuple([param.name for param in params]),
                numel=sum([param.numel for param in params]),
                implementation=implementation(self.spec, setting, params, self.inventory.unfused),
            )
            for setting, params in zip(self.settings, members, strict=True)
            if not setting.frozen
        )

    @property
    def frozen(self) -> tuple[str, ...]:
        """The names of the frozen parameters, in model order."""
        out = [setting.frozen for setting in self.settings]
        pairs = zip(self.inventory.params, self.chosen, strict=True)
        return tuple([param.name for param, setting in pairs if out[setting]])

    @property
    def trainable_dtypes(self) -> frozenset[str]:
        """The dtypes of the parameters that are not frozen."""
        out = [setting.frozen for setting in self.settings]
        pairs = zip(self.inventory.params, self.chosen, strict=True)
        return frozenset([param.dtype for param, setting in pairs if not out[setting]])

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
        from optimbuild.memory import memory_of

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
        calls = [bound(rule, self.inventory) for rule in self.rules]
        edits = [(i, edit) for i, call in enumerate(calls) if (edit := edit_for(call, param)) is not None]
        _, changes = fold(param.trainable, edits, base_options(self.spec))
        why = {position: edit.why for position, edit in edits}
        return tuple(Step(self.spec.rules[i].type, why[i], before, after, i) for i, before, after in changes)

    def diff(self, other: Plan) -> PlanDiff:
        """Return what differs in ``other``, by parameter and option."""
        return PlanDiff.between(self._by_name(), other._by_name())

    def _by_name(self) -> dict[str, Mapping[str, Any] | None]:
        return {d.name: d.options and {"optimizer": d.optimizer, **d.options} for d in self}

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what every parameter gets: the same in any process, and for a wrapped model."""
        digest = hashlib.sha256()
        table = [(s.optimizer, sorted((s.options or {}).items())) for s in self.settings]
        digest.update(json.dumps(table).encode())
        for param, setting in zip(self.inventory.params, self.chosen, strict=True):
            digest.update(f"{param.name}\0{param.shape}\0{setting}\n".encode())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        groups, kinds = self.groups, base_options(self.spec)(None)
        return {
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
                for group in groups
            ],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "spec": self.spec.to_dict(),
            "model": self.inventory.model,
            "hooks": self.inventory.hooks.answers,
            "unfused": sorted(self.inventory.unfused),
        }

    def to_json(self) -> str:
        """Return the plan as JSON text that :meth:`from_json` reads again."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            ModelError: The text is not a plan, or was altered: its fingerprint is not that of its content.
        """
        try:
            data = json.loads(text)
            if not isinstance(data, dict) or data.get("version") != VERSION:
                raise ModelError(f"not a plan of version {VERSION}")
            inventory = Inventory.from_dict({key: data[key] for key in ("model", "params", "hooks", "unfused")})
            rows = [_setting_of(row) for row in data["params"]]
            settings = {setting.key: setting for setting in rows}
            index = {key: i for i, key in enumerate(settings)}
            plan = cls(
                Spec.of(data["spec"]),
                inventory,
                tuple(settings.values()),
                tuple([index[setting.key] for setting in rows]),
                tuple(data["warnings"]),
                tuple(data["notes"]),
            )
            altered = plan.fingerprint != data["fingerprint"]
        except OptimBuildError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ModelError(f"not a plan: {type(error).__name__}: {shown(str(error), 200)}") from None
        if altered:
            raise ModelError("the plan was altered: its fingerprint is not that of its content")
        return plan

    def __str__(self) -> str:
        from optimbuild.report.terminal import plan_text

        return plan_text(self)


def _setting_of(row: Mapping[str, Any]) -> Setting:
    return Setting(bool(row["frozen"]), row["optimizer"], row["options"] and plain(row["options"]))


def made_rule(spec: RuleSpec, path: str) -> Any:
    """Return a rule with its options, checked and coerced from the types of its fields."""
    cls = rule_class(spec.type) if spec.type else None
    if hasattr(cls, "__pydantic_fields__"):
        return validated(cls, spec.options, path)
    try:
        return cls(**spec.options)  # type: ignore[misc]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"rule {spec.type!r} refuses its options: {shown(str(error), 200)}", path) from error


def bound(rule: Any, inventory: Inventory) -> Call:
    """Return the callable of a rule, after it has seen the whole model where it wants to."""
    call: Call = rule.bind(inventory) if hasattr(rule, "bind") else rule
    return call


def _bound_at(rule: Any, inventory: Inventory, path: str) -> Call:
    """Bind a rule; the path of an option that it complains about begins with the rule's own place."""
    try:
        return bound(rule, inventory)
    except ConfigError as error:
        raise type(error)(error.message, f"{path}.{error.path}" if error.path else path) from error.__cause__


def edit_for(call: Call, param: ParamInfo) -> Edit | None:
    """Return what a rule wants for a parameter; an alias for which it wants something counts as well."""
    edit = call(param)
    if edit is None and param.aliases and not isinstance(call, Bound):
        for alias in param.aliases:
            edit = call(_renamed(param, alias))
            if edit is not None:
                break
    return edit


def _renamed(param: ParamInfo, alias: str) -> ParamInfo:
    return ParamInfo(alias, param.shape, param.dtype, param.owner, param.bases, param.kinds, param.trainable)


def base_options(spec: Spec) -> Any:
    """Return what :func:`~optimbuild.edits.fold` starts from: an optimizer by name, and its base options."""
    known: dict[str | None, tuple[OptimizerType, dict[str, Any]]] = {}

    def base(name: str | None) -> tuple[OptimizerType, dict[str, Any]]:
        if name not in known:
            kind = optimizer_type(spec.optimizer.type if name is None else name)
            given = spec.optimizer.options
            if name is not None:  # another optimizer takes over what both know
                given = {key: value for key, value in given.items() if key in kind.known and key not in kind.fixed}
            known[name] = kind, kind.complete(given)
        return known[name]

    return base


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
    rules = [made_rule(rule, f"rules[{i}]") for i, rule in enumerate(spec.rules)]
    found, notes = list(warnings), []
    columns: list[list[Edit | None]] = []
    for i, rule in enumerate(rules):
        call = _bound_at(rule, inventory, f"rules[{i}]")
        columns.append(_column(call, inventory, f"rules[{i}] ({spec.rules[i].type})"))
        found += _complaints(spec, i, call, columns[i], inventory)
        notes += [f"{spec.rules[i].type}: {note}" for note in getattr(call, "notes", ())]
    settings, chosen = _folded(inventory, columns, base)
    plan = Plan(spec, inventory, settings, chosen, tuple(found), tuple(notes))
    if all(setting.frozen for setting in settings):
        raise ConfigError(
            "every parameter is frozen, so there is nothing to optimize. Frozen: " + listing(list(plan.frozen), 5)
        )
    kernels = [(group.optimizer, group.implementation) for group in plan.groups]  # refuses an impossible one
    reasons = fallbacks(spec, plan.trainable_dtypes, kernels) if spec.sharding else ()
    return replace(plan, notes=(*notes, *reasons)) if reasons else plan


def _column(call: Call, inventory: Inventory, path: str) -> list[Edit | None]:
    """Return what a rule wants for every parameter."""
    try:
        if isinstance(call, Bound):
            return [call.edits.get(param.name) for param in inventory.params]
        column = [edit_for(call, param) for param in inventory.params]
    except OptimBuildError:
        raise
    except Exception as error:
        raise ConfigError(f"the rule raised {type(error).__name__}: {shown(str(error), 200)}", path) from error
    for edit in column:
        if edit is not None and not isinstance(edit, Edit):
            raise ConfigError(f"the rule must return an Edit or None, not {shown(edit)}", path)
    return column


def _folded(
    inventory: Inventory, columns: Sequence[Sequence[Edit | None]], base: Any
) -> tuple[tuple[Setting, ...], tuple[int, ...]]:
    """Fold every parameter's edits; each distinct combination of edits is folded once."""
    by_edits: dict[tuple[Any, ...], int] = {}
    by_key: dict[tuple[Any, ...], int] = {}
    settings: list[Setting] = []
    chosen: list[int] = []
    rows = zip(*columns, strict=True) if columns else ((),) * len(inventory)
    for param, row in zip(inventory.params, rows, strict=True):
        combination = (param.trainable, *map(id, row))
        index = by_edits.get(combination)
        if index is None:
            edits = [(i, edit) for i, edit in enumerate(row) if edit is not None]
            setting, _ = fold(param.trainable, edits, base)
            index = by_key.setdefault(setting.key, len(settings))
            if index == len(settings):
                settings.append(setting)
            by_edits[combination] = index
        chosen.append(index)
    return tuple(settings), tuple(chosen)


def _complaints(
    spec: Spec, position: int, call: Call, column: Sequence[Edit | None], inventory: Inventory
) -> list[str]:
    """Return the warnings about a rule; what touches no parameter is an error where the spec is strict."""
    rule, path = spec.rules[position], f"rules[{position}]"
    warnings = [f"{path} ({rule.type}): {warning}" for warning in getattr(call, "warnings", ())]
    missed = [
        (f"{path}.{where}", f"pattern {shown(pattern)} matches no parameter.{_hint(pattern, inventory)}")
        for where, pattern in getattr(call, "unmatched", ())
    ]
    touched = [param for param, edit in zip(inventory.params, column, strict=True) if edit is not None]
    if not touched and not missed:
        missed = [(path, f"rule {rule.type!r} touches no parameter of {inventory.model or 'the model'}")]
    if missed and not rule.optional:
        if spec.strict:
            where, message = missed[0]
            more = "".join(f"; {w}: {m}" for w, m in missed[1:])
            raise ConfigError(f"{message} Nothing would happen where something was asked for{more}", where)
        warnings += [f"{where}: {message}" for where, message in missed]
    if touched and not any(param.trainable for param in touched):
        warnings.append(f"{path} ({rule.type}) touches only frozen parameters: {listing([p.name for p in touched], 5)}")
    return warnings


def _hint(pattern: str, inventory: Inventory) -> str:
    for wider in widened(pattern):
        count = len(inventory.matching(Pattern(wider)))
        if count:
            return f" {shown(wider)} would match {count} (`*` stays inside one segment, `**` crosses them)."
    names = inventory.closest(pattern.removeprefix("re:"))
    return f" Closest: {listing(names)}." if names else ""
