"""Compare plans with what MMagic's real constructor gives, where it has one optimizer for some modules, or several.

``python tests/openmmlab/several.py`` ends with 1 where any parameter differs. MMagic's models want packages
that do not install beside this one's, so the model is that of ``mmagic_cases.py``. ``.ci/openmmlab.txt`` is its
environment.
"""

from __future__ import annotations

import copy
import importlib
import logging
import sys
import warnings
from types import ModuleType
from typing import Any

from mmagic_cases import CASES, FAILING, NAME, Case, Diffusion
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapperDict
from stand_in import install
from torch import nn

from optimbuild import OptimBuildError, inventory
from optimbuild.config import read_configs
from optimbuild.plan.make import plans_of_readings

Given = dict[str, list[tuple[str, Any, Any]]]
"""By optimizer what it trains, with LR and weight decay, sorted; the name of a single one is empty."""


def main() -> int:
    """Compare all configs, print a line for each, and return 1 where any differs."""
    warnings.simplefilter("ignore")
    MMLogger.get_instance("quiet", log_level=logging.ERROR)
    install()
    constructor = getattr(_optimizers(), NAME)
    different = 0
    for name, case in CASES.items():
        found = differences(constructor, case)
        print(f"{name:<45}{'; '.join(found) or 'equal'}", flush=True)
        different += bool(found)
    for name, (wrapper, _) in FAILING.items():
        error = _raised(lambda wrapper=wrapper: built(constructor, wrapper))
        ours = _raised(lambda wrapper=wrapper: planned(wrapper))
        print(f"{name:<45}both fail: {error}" if error and ours else f"{name:<45}only one fails: {error} {ours}")
        different += not (error and ours)
    print(f"{len(CASES) + len(FAILING)} configs, {different} different")
    return 1 if different else 0


def _optimizers() -> ModuleType:
    """Import MMagic's constructors; the package around them, which imports what is not there, stays empty."""
    import mmagic

    around = ModuleType("mmagic.engine")
    around.__path__ = [f"{mmagic.__path__[0]}/engine"]
    sys.modules[around.__name__] = around
    return importlib.import_module(f"{around.__name__}.optimizers")


def differences(constructor: Any, case: Case) -> list[str]:
    """Return what the published groups, the plans and the recorded case do not have in common."""
    theirs = built(constructor, case.wrapper)
    once = {name: sorted(set(rows)) for name, rows in theirs.items()}
    twice = sorted({row[0] for rows in theirs.values() for row in rows if rows.count(row) > 1})
    told = [] if once == planned(case.wrapper) else ["the plan differs"]
    recorded = {name: sorted(names) for name, names in case.trained.items()}
    told += [] if {name: [row[0] for row in rows] for name, rows in once.items()} == recorded else ["the case differs"]
    return told + ([] if twice == sorted(case.twice) else [f"twice: {twice}"])


def built(constructor: Any, wrapper: dict[str, Any]) -> Given:
    """Return what the real constructor gives, as MMEngine calls it; what it hands over twice is there twice."""
    config, model = copy.deepcopy(wrapper), Diffusion()
    keys = {"paramwise_cfg": config.pop("paramwise_cfg")} if "paramwise_cfg" in config else {}
    made = constructor(config, **keys)(model)
    each = dict(made.items()) if isinstance(made, OptimWrapperDict) else {"": made}
    return {name: _rows(model, one.optimizer.param_groups) for name, one in each.items()}


def _rows(model: nn.Module, groups: Any) -> list[tuple[str, Any, Any]]:
    names = {id(param): name for name, param in model.named_parameters()}
    return sorted(
        (names[id(param)], group["lr"], group["weight_decay"]) for group in groups for param in group["params"]
    )


def planned(wrapper: dict[str, Any]) -> Given:
    """Return what the plans of a config give."""
    readings = read_configs({"optim_wrapper": {**wrapper, "constructor": f"mmagic.{NAME}"}})
    plans = plans_of_readings(readings, inventory(Diffusion()))
    starts = {name: f"{reading.module}." if reading.module else "" for name, reading in readings.items()}
    return {
        name: sorted((starts[name] + each.name, each.lr, each.weight_decay) for each in plan if not each.frozen)
        for name, plan in plans.items()
    }


def _raised(work: Any) -> str:
    try:
        work()
    except (OptimBuildError, Exception) as error:  # noqa: BLE001  # whatever the constructor raises
        return type(error).__name__
    return ""


if __name__ == "__main__":
    sys.exit(main())
