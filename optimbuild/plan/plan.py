"""The plan: what every single parameter gets, and why, before one tensor is touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress, islice
from typing import Any

from optimbuild.config.spec import Spec
from optimbuild.errors import ModelError
from optimbuild.messages import counted, listing, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.inventory_file import param_to_dict
from optimbuild.plan.base_options import base_options
from optimbuild.plan.decision import Decision, Group, Setting, Step
from optimbuild.plan.diff import PlanDiff
from optimbuild.plan.group_names import group_names
from optimbuild.plan.groups import groups_of
from optimbuild.plan.memory import Memory, ParamMemory, memory_of, memory_of_params
from optimbuild.plan.plan_file import VERSION, checksum, read_plan
from optimbuild.plan.traces import traces_of
from optimbuild.registry.optimizer_type import OptimizerType

CHUNK = 1000
"""How many lines of a fingerprint are digested at one go, while they are in the processor's cache."""


@dataclass(frozen=True)
class Plan:
    """A config applied to a model: one decision per parameter. Nothing is touched before it is built.

    Make one with :func:`optimbuild.make_plan`.

    Args:
        spec: The canonical config.
        inventory: The model's parameters and hints.
        settings: The distinct settings; trainable ones are the groups. Groups that a rule put in an order come first,
            empty ones too; the others are in first-seen order.
        chosen: For every parameter the index of its setting.
        warnings: What the user should know.
        notes: Where rules took their knowledge from.
        kept_statistics: The modules whose running statistics stay as they are, by their canonical names.

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
    kept_statistics: tuple[str, ...] = ()

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
    def base(self) -> tuple[OptimizerType, dict[str, Any]]:
        """The optimizer of the config, and its base options, before any rule."""
        return base_options(self.spec)(None)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The parameter groups: those that a rule put in an order, then the others in first-seen order."""
        return groups_of(self.spec, self.inventory, self.settings, self.members)

    @cached_property
    def group_names(self) -> tuple[str, ...]:
        """A short name for each group, as the built optimizer's groups carry it."""
        return group_names(self.groups, self.base[1].get("lr"))

    @cached_property
    def members(self) -> Sequence[Sequence[int]]:
        """For every setting the positions of its parameters, in model order."""
        members: list[list[int]] = [[] for _ in self.settings]
        for position, setting in enumerate(self.chosen):
            members[setting].append(position)
        return members

    @cached_property
    def frozen(self) -> tuple[str, ...]:
        """The names of the frozen parameters, in model order."""
        frozen = [setting.frozen for setting in self.settings]
        return tuple(compress(self.inventory.names, map(frozen.__getitem__, self.chosen))) if any(frozen) else ()

    @property
    def trainable_dtypes(self) -> frozenset[str]:
        """The dtypes of the parameters that are not frozen."""
        pairs = zip(self.inventory, self.chosen, strict=True)
        return frozenset([param.dtype for param, i in pairs if not self.settings[i].frozen])

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
        return memory_of(self.inventory, self.groups, world_size, zero=self.spec.sharding is not None)

    @cached_property
    def param_memory(self) -> Sequence[ParamMemory]:
        """For every parameter, in model order, what it takes on a rank that shares nothing.

        Raises:
            ConfigError: The state of an optimizer cannot be foreseen.
        """
        return memory_of_params(self.inventory, self.groups)

    def explain(self, name: str) -> tuple[Step, ...]:
        """Return every step that led to a parameter's setting, in order.

        ``optimbuild.report.explain_text`` shows them as calculations, also those of parameters that differ.

        Args:
            name: The name of a parameter, an alias, or a module or pattern whose parameters have equal steps.

        Raises:
            ModelError: No parameter has this name, is in such a module, or matches; or their steps differ.
        """
        from optimbuild.report.explain_blocks import selected

        positions = selected(self, name)
        traces = self.traces(positions)
        for position, steps in zip(positions, traces, strict=True):
            if steps != traces[0]:
                apart = listing([self.inventory.names[positions[0]], self.inventory.names[position]])
                raise ModelError(
                    f"{shown(name)} is {counted(len(positions), 'parameter')} whose steps differ, such as {apart}; "
                    f"optimbuild.report.explain_text(plan, {shown(name)}) shows them all"
                )
        return traces[0]

    def traces(self, positions: Iterable[int]) -> Sequence[tuple[Step, ...]]:
        """Return what :meth:`explain` does for parameters at some positions in model order, at one go."""
        return traces_of(self.spec, self.inventory, positions)

    def to_html(self, against: Plan | None = None, *, titles: tuple[str, str] = ("", ""), world_size: int = 1) -> str:
        """Return the plan as a page of its own, which needs no network: pictures, tables and every step.

        Args:
            against: Another plan, to see both side by side.
            titles: The names of the plans, such as those of their files.
            world_size: The number of ranks for which memory is shown.

        Raises:
            MissingPackageError: What the page is made with is not installed; it is in ``optimbuild[report]``.
            ConfigError: The world size is no whole number from 1.

        Example:
            ``Path("plan.html").write_text(plan.to_html(), "utf-8")``
        """
        from optimbuild.report.html import page

        return page([self] if against is None else [self, against], titles, world_size)

    def _repr_html_(self) -> str:
        from optimbuild.report.html import notebook_table

        return notebook_table(self)

    def diff(self, other: Plan) -> PlanDiff:
        """Return what differs in ``other``, by parameter and option."""
        same = self.inventory.params is other.inventory.params
        shapes = [{} if same else {param.name: param.shape for param in plan.inventory} for plan in (self, other)]
        return PlanDiff.between(self._options, other._options, self.kept_statistics, other.kept_statistics, *shapes)

    @cached_property
    def _options(self) -> dict[str, Mapping[str, Any] | None]:
        """By parameter its optimizer and options; None where it is frozen."""
        groups = [{"group": setting.group} if setting.group else {} for setting in self.settings]
        options = [
            None if setting.frozen else {"optimizer": setting.optimizer, **group, **(setting.options or {})}
            for setting, group in zip(self.settings, groups, strict=True)
        ]
        return dict(zip(self.inventory.names, map(options.__getitem__, self.chosen), strict=True))

    @cached_property
    def fingerprint(self) -> str:
        """A digest of what every parameter gets. It is the same in any process, and for a wrapped model."""
        digest = hashlib.sha256()
        table = [(s.optimizer, sorted((s.options or {}).items())) for s in self.settings]
        digest.update(json.dumps(table).encode())
        shapes = {shape: f"\0{shape}\0" for shape in {param.shape for param in self.inventory}}  # few different ones
        ends = [f"{setting}\n" for setting in range(len(self.settings))]
        rows = zip(self.inventory.names, [param.shape for param in self.inventory], self.chosen, strict=True)
        lines = (name + shapes[shape] + ends[setting] for name, shape, setting in rows)
        while text := "".join(islice(lines, CHUNK)):
            digest.update(text.encode())
        digest.update("".join([f"statistics of {module} are kept\n" for module in self.kept_statistics]).encode())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON data."""
        kind, options = self.base
        data: dict[str, Any] = {
            "version": VERSION,
            "fingerprint": self.fingerprint,
            "optimizer": {"type": kind.name, "options": options},
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
                    **({"name": group.name} if group.name else {}),
                }
                for group in self.groups
            ],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "spec": self.spec.to_dict(),
            "model": self.inventory.model,
            **self.inventory.hints.to_dict(),
            "unfused": sorted(self.inventory.unfused),
            "sharded": sorted(self.inventory.sharded),
            "on_cpu": self.inventory.on_cpu,
            **({"statistics": list(self.inventory.statistics)} if self.inventory.statistics else {}),
            **({"outputs": dict(self.inventory.outputs)} if self.inventory.outputs else {}),
            **({"backbone": self.inventory.backbone} if self.inventory.backbone else {}),
            **({"bare": {name: list(bases) for name, bases in bare.items()}} if (bare := self.inventory.bare) else {}),
            **({"kept_statistics": list(self.kept_statistics)} if self.kept_statistics else {}),
        }
        return {**data, "checksum": checksum(data)}

    def to_json(self) -> str:
        """Return the plan as JSON text that :meth:`from_json` reads again."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Return the plan that :meth:`to_json` wrote.

        Raises:
            ModelError: The text is not a plan, or was altered: its checksum or fingerprint is not that of its content.
        """
        saved = read_plan(text)
        index = {setting.key: i for i, setting in enumerate(saved.settings)}
        plan = cls(
            saved.spec,
            saved.inventory,
            saved.settings,
            tuple([index[setting.key] for setting in saved.rows]),
            saved.warnings,
            saved.notes,
            saved.kept_statistics,
        )
        if plan.fingerprint != saved.fingerprint:
            raise ModelError("the plan was altered: its fingerprint is not that of its content")
        return plan

    def __str__(self) -> str:
        from optimbuild.report import plan_text

        return plan_text(self)
