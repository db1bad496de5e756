"""``modules`` and regular expressions, as MMagic's constructor reads them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from mmengine.optim import OptimWrapperDict, build_optim_wrapper

from optimbuild import ConfigError, inventory
from optimbuild.config import read_configs
from optimbuild.plan.make import plans_of_readings
from optimbuild.plan.plan import Plan
from tests.openmmlab.mmagic_cases import CASES, FAILING, NAME, Case, Diffusion

OURS = "optimbuild.OptimBuildConstructor"


def planned(wrapper: dict[str, Any], constructor: str) -> dict[str, Plan]:
    return plans_of_readings(
        read_configs({"optim_wrapper": {**wrapper, "constructor": constructor}}), inventory(Diffusion())
    )


def trained(plan: Plan) -> list[str]:
    return [decision.name for decision in plan if not decision.frozen]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_plan_trains_what_mmagics_constructor_trains(case: Case) -> None:
    plans = planned(case.wrapper, f"mmagic.{NAME}")
    starts = {name: f"{name}." if name == "generator" else "generator." if name == "gan" else "" for name in plans}
    found = {
        name: [n if n.startswith(starts[name]) else starts[name] + n for n in trained(plan)]
        for name, plan in plans.items()
    }
    assert {name: sorted(names) for name, names in found.items()} == {n: sorted(v) for n, v in case.trained.items()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_mmagic_hands_over_twice_is_told_and_trained_once(case: Case) -> None:
    told = " ".join(warning for plan in planned(case.wrapper, NAME).values() for warning in plan.warnings)
    assert ("given more than once, and trained once" in told) == bool(case.twice)
    assert all(name in told for name in case.twice)


@pytest.mark.parametrize(("wrapper", "path"), FAILING.values(), ids=FAILING)
def test_where_mmagics_constructor_fails_a_plan_does(wrapper: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(wrapper, NAME)
    assert caught.value.path == f"optim_wrapper{'' if path.startswith('[') else '.'}{path}"


def test_a_name_that_no_module_has_is_passed_over_and_told() -> None:
    warnings = planned(CASES["a name that is no module"].wrapper, NAME)[""].warnings
    assert [warning.partition(": ")[2] for warning in warnings] == [
        "no module is called 'vae'",
        "no module is called 'scale'",
    ]


@pytest.mark.parametrize("case", [case for case in CASES.values() if "" not in case.trained])
def test_a_runner_builds_several_for_modules_and_expressions(case: Case) -> None:
    model = Diffusion()
    names = {id(param): name for name, param in model.named_parameters()}
    logging.disable()
    wrappers = build_optim_wrapper(model, {**case.wrapper, "constructor": OURS})
    logging.disable(logging.NOTSET)
    assert isinstance(wrappers, OptimWrapperDict)
    for name, expected in case.trained.items():
        groups = wrappers[name].optimizer.param_groups
        assert sorted(names[id(param)] for group in groups for param in group["params"]) == sorted(expected)
    assert all(param.requires_grad for param in model.parameters())  # another optimizer may train what one leaves out


def test_rules_beside_an_expression_name_parameters_as_the_model_does() -> None:
    rules = [{"type": "match", "table": {"unet.up": {"lr_mult": 0.5}}}]
    lora = {"optimizer": {"type": "Adam", "lr": 1.0}, "paramwise_cfg": {"rules": rules}}
    (plan, _) = planned({".*lora_mapping": lora, "generator": {"optimizer": {"type": "Adam"}}}, OURS).values()
    assert [decision.lr for decision in plan] == [1.0, 0.5]


def test_statistics_kept_by_one_outlast_the_build_of_the_others() -> None:
    freeze = {"rules": [{"type": "freeze", "patterns": ["generator.1"]}]}
    adam = {"type": "Adam", "lr": 1e-4}
    model = Diffusion()
    gan = {"optimizer": adam, "modules": ["generator"], "paramwise_cfg": freeze}
    logging.disable()
    build_optim_wrapper(model, {"gan": gan, ".*lora_mapping": {"optimizer": adam}, "constructor": OURS})
    logging.disable(logging.NOTSET)
    assert not model.train().generator[1].training


def test_both_readings_of_one_name_are_the_same_where_both_read_it() -> None:
    for modules in ("unet", ["unet", "m1.generator"], ".*lora_mapping"):
        wrapper = {**CASES["a module"].wrapper, "modules": modules}
        assert trained(planned(wrapper, NAME)[""]) == trained(planned(wrapper, OURS)[""])
