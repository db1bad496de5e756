"""A rule of the tests that wants whatever edits it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from optimbuild import RULES, Inventory, ParamInfo

MODEL = Inventory(
    (ParamInfo("a.weight", (2, 2)), ParamInfo("b.weight", (2, 2)), ParamInfo("b.bias", (2,))), model="Net"
)
BASE = {"type": "adamw", "lr": 0.5, "weight_decay": 0.25}


def rules_that(*calls: Callable[[ParamInfo], Any]) -> dict[str, Any]:
    """Return a config with a rule for each function from a parameter to an edit."""
    rules = []
    for i, call in enumerate(calls):
        RULES.register_module(name=f"wish_{i}", module=_rule(call), force=True)
        rules.append({"type": f"wish_{i}"})
    return {"optimizer": BASE, "rules": rules}


def _rule(call: Callable[[ParamInfo], Any]) -> type:
    class Wish:
        def __call__(self, param: ParamInfo) -> Any:
            return call(param)

    return Wish


def always(answer: Any) -> Callable[[ParamInfo], Any]:
    """Return what wants the same for every parameter."""
    return lambda param: answer


def on_a(answer: Any) -> Callable[[ParamInfo], Any]:
    """Return what wants something for the first parameter only."""
    return lambda param: answer if param.name.startswith("a.") else None
