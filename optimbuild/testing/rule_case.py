"""A rule with options, and what it answers for models: what the checks of rules compare."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pydantic
import torch
from torch import nn

from optimbuild.config.spec import RuleSpec, Spec
from optimbuild.edits import Edit
from optimbuild.errors import OptimBuildError, RuleError
from optimbuild.model.inventory import Inventory
from optimbuild.model.survey import inventory
from optimbuild.plan.apply import applied, made_rule
from optimbuild.registry import RULES
from optimbuild.testing.models import MODELS
from optimbuild.values import plain

Model = nn.Module | Inventory | Callable[[], nn.Module]
"""A model of an author: a module, an inventory, or what builds a module."""
Answer = Mapping[str, Any]
"""What a rule wants for a model, as plain data: by parameter its edit; and what the rule says about it."""
RAISES, REFUSES = "raises", "refuses"
"""The keys in an answer for an error: a mistake in the rule, or one of ours, which is meant."""
PATH = "rule"
"""The rule's place, in messages."""


@dataclass(frozen=True)
class RuleCase:
    """A rule with options, and the models with which it is tried.

    Args:
        name: The rule's registered name.
        cls: Its class.
        options: Its options.
        optimizer: The optimizer, with its options, with which plans are made.
        models: The models, by a name for messages.
    """

    name: str
    cls: Any
    options: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    models: Mapping[str, Inventory]

    @cached_property
    def spec(self) -> RuleSpec:
        """The rule as a config has it."""
        return self.config.rules[-1]

    @cached_property
    def config(self) -> Spec:
        """A config with this one rule, in which it may touch nothing."""
        rule = {"type": self.name, "optional": True, **self.options}
        return Spec.of({"optimizer": self.optimizer, "rules": [rule], "strict": False})

    def made(self) -> Any:
        """Return the rule with its options."""
        return made_rule(self.spec, PATH)

    @cached_property
    def answers(self) -> Mapping[str, Answer]:
        """What the rule answers for each model."""
        return {label: answer(self.spec, model) for label, model in self.models.items()}

    @cached_property
    def files(self) -> Mapping[str, Any]:
        """The models as inventory files hold them."""
        return {label: in_file(model, self.options) for label, model in self.models.items()}


def answer(spec: RuleSpec, model: Inventory) -> Answer:
    """Return what a rule answers for a model; an error is an answer as well, be it meant or not."""
    try:
        edits = applied(spec, PATH, model.copy()).edits
    except RuleError as error:
        return {RAISES: str(error)}
    except OptimBuildError as error:
        return {REFUSES: str(error)}
    return {
        **{param.name: plain_edit(edits[param.name]) for param in edits.model},
        "notes": [note.text for note in edits.notes],
        "warnings": [warning.text for warning in edits.warnings],
        "statistics": [edits.kept, edits.released],
        "options": [asked.option for asked in edits.asked],
    }


def plain_edit(edit: Edit | None) -> Any:
    """Return an edit as plain data, which can be compared and sent to another process."""
    return edit and (dict(edit.set), dict(edit.scale), edit.freeze, edit.optimizer, edit.why)


def edits_in(found: Answer, model: Inventory) -> dict[str, Any]:
    """Return by name the edits in an answer, those that are None left out."""
    return {name: found[name] for name in model.names if found.get(name) is not None}


def answer_from_file(cls: Any, name: str, options: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Answer]:
    """Return what a rule answers for models in files: what another process is asked.

    Args:
        cls: The rule's class, which is registered here if it is not.
        name: Its registered name.
        options: Its options.
        files: The models.
    """
    RULES.register_module(name=name, module=cls, force=True)
    spec = RuleSpec(type=name, **options)
    return {label: answer(spec, Inventory.from_dict(file)) for label, file in files.items()}


def in_file(model: Inventory, options: Mapping[str, Any]) -> Any:
    """Return what an inventory file holds of a model, with the answers of its hints for the ratios in the options."""
    recorded = model.copy()
    recorded.record([value for value in options.values() if isinstance(value, float) and 0 < value <= 1])
    return json.loads(json.dumps(recorded.to_dict()))


def inventories(models: Iterable[Model]) -> dict[str, Inventory]:
    """Return the inventories of the author's models and of those of the kit, by a name for messages."""
    found: dict[str, Inventory] = {}
    for model in [*models, *MODELS]:
        if isinstance(model, Inventory):
            made = model
        elif isinstance(model, nn.Module):
            made = inventory(model)
        else:
            with torch.random.fork_rng(devices=[]):
                made = inventory(model())
        label = made.model or "model"
        found[label if label not in found else f"{label} {len(found)}"] = made
    return found


def plain_options(rule: Any) -> dict[str, Any]:
    """Return the options of a rule as the plain data of a config file, defaults included."""
    dumped = pydantic.TypeAdapter(type(rule)).dump_python(rule, mode="json", by_alias=True)
    data: dict[str, Any] = plain(dumped)
    return data


def option_names(cls: Any, *, required: bool = False) -> list[str]:
    """Return the names of the options that a rule's constructor takes; with ``required`` those without default."""
    named = [p for p in inspect.signature(cls).parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [parameter.name for parameter in named if not required or parameter.default is parameter.empty]
