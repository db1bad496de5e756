"""A plan as the data of its page: columns of parameters, and everything that they refer to."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from operator import attrgetter
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.model.depths.of_model import depths_of_model
from optimbuild.model.inventory import Inventory
from optimbuild.model.inventory_file import param_to_dict
from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import RULES
from optimbuild.report.html.columns import column
from optimbuild.report.interfaces import PlanView, StepView
from optimbuild.report.option_columns import columns_of_options

OF_EACH = ("name", "shape", "aliases")
"""What differs from parameter to parameter; all else that is known of one is shared by many."""


def plan_data(plan: PlanView, title: str, world_size: int) -> dict[str, Any]:
    """Return a plan as JSON data. Each value of many parameters is in it once.

    Args:
        plan: The plan.
        title: Its name, such as that of its file.
        world_size: The number of ranks for which memory is shown.
    """
    model = plan.inventory
    return {
        "title": title,
        "model": model.model,
        "fingerprint": plan.fingerprint,
        "names": [param.name for param in model],
        "shape": column(model.params, attrgetter("shape"), lambda param: list(param.shape)),
        "facts": column(model.params, _facts_key, _facts),
        "aliases": {i: list(param.aliases) for i, param in enumerate(model) if param.aliases},
        "group": [-1 if decision.group is None else decision.group for decision in plan],
        **_traces(plan),
        "rules": [_rule(plan, i) for i in range(len(plan.spec.rules))],
        "start": {"optimizer": plan.base[0].name, "options": dict(plan.base[1])},
        "groups": list(_groups(plan)),
        "columns": columns_of_options(plan.groups),
        "depth": _depths(model),
        **_memory(plan, world_size),
        "kept": list(plan.kept_statistics),
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "spec": plan.spec.to_dict(),
    }


def _facts(param: ParamInfo) -> dict[str, Any]:
    return {key: value for key, value in param_to_dict(param).items() if key not in OF_EACH}


def _facts_key(param: ParamInfo) -> Hashable:
    more = repr((param.marks, param.evidence)) if param.marks or param.evidence else ""
    return (param.dtype, param.owner, param.bases, param.kinds, param.trainable, param.container, more)


def _traces(plan: PlanView) -> dict[str, Any]:
    """Return the distinct traces, and for every parameter the place of its own."""
    of_each = plan.traces(range(len(plan.inventory.params)))
    texts = {id(steps): repr(steps) for steps in of_each}  # most parameters share an object
    places = {text: place for place, text in enumerate(dict.fromkeys(texts.values()))}
    by_place = {places[texts[id(steps)]]: steps for steps in of_each}
    return {
        "trace": [places[texts[id(steps)]] for steps in of_each],
        "traces": [[_step(step) for step in by_place[place]] for place in range(len(places))],
    }


def _step(step: StepView) -> dict[str, Any]:
    return {"rule": step.position, "why": step.why, "before": dict(step.before), "after": dict(step.after)}


def _rule(plan: PlanView, position: int) -> dict[str, Any]:
    """Return a rule of the config, and the module and line where it is defined; a path would tell of this machine."""
    rule = plan.spec.rules[position]
    origin = RULES.origin(rule.type)
    return {"type": rule.type, "options": dict(rule.options), "origin": f"{origin.module}:{origin.line}"}


def _groups(plan: PlanView) -> Iterator[dict[str, Any]]:
    for group, logged in zip(plan.groups, plan.group_names, strict=True):
        yield {
            "optimizer": group.optimizer,
            "options": dict(group.options),
            "implementation": group.implementation,
            "name": group.name,
            "logged": logged,
        }


def _depths(model: Inventory) -> dict[str, Any] | None:
    """Return the layer of every parameter, -1 where no layer claims it; None where the model has no layers."""
    depths = depths_of_model(model)
    if depths is None:
        return None
    layers = [depths.layer_of.get(param.name, -1) for param in model]
    return {"of": layers, "layers": depths.layers, "source": depths.source}


def _memory(plan: PlanView, world_size: int) -> dict[str, Any]:
    """Return what parameters and ranks take, or why that cannot be foreseen."""
    memory = {"bytes": None, "memory": None, "unforeseen": ""}
    try:
        ranks, each = plan.memory(world_size), plan.param_memory
    except ConfigError as error:
        if error.path == "world_size":
            raise
        return {**memory, "unforeseen": str(error)}
    return {
        "bytes": column(each, tuple, list),
        "memory": {
            "how": ranks.how,
            "parameters": [rank.parameters for rank in ranks.ranks],
            "gradients": [rank.gradients for rank in ranks.ranks],
            "state": [rank.state for rank in ranks.ranks],
        },
        "unforeseen": "",
    }
