"""Every planted fault is found under its id, and healthy set-ups have none; an audit changes nothing."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from optimbuild import Inventory, ParamInfo, UnknownNameError, audit, build_optimizer, make_plan
from optimbuild.auditing.examined import FINDINGS
from optimbuild.auditing.plan_findings import PLAN_FINDINGS, plan_findings
from optimbuild.build.unwrap import optimizers_in
from tests.auditing.healthy import HEALTHY
from tests.auditing.planted import FAULTS, adamw, split
from tests.distributed import needs_fsdp2_on_cpu, run
from tests.golden_cases import ROOT
from tests.models import CONFIG, Net

AS_MANY_FAULTS, AS_MANY_HEALTHY = 25, 15


def ids(optimizer: Any, model: Any, **more: Any) -> list[str]:
    return [finding.id for finding in audit(optimizer, model, **more).findings]


def state(optimizer: Any, model: nn.Module) -> Any:
    """Return everything that an audit could have changed."""
    inner = [each.optimizer for each in optimizers_in(optimizer).values()]
    entries = [[{k: copy.copy(v) for k, v in g.items() if k != "params"} for g in one.param_groups] for one in inner]
    members = [[list(map(id, group["params"])) for group in one.param_groups] for one in inner]
    kept = [sorted((id(key), sorted(value)) for key, value in one.state.items()) for one in inner]
    params = {name: (id(p), p.requires_grad, p._version, p.grad) for name, p in model.named_parameters()}
    modules = {name: (id(module), module.training, sorted(vars(module))) for name, module in model.named_modules()}
    return repr(entries), members, kept, params, modules, torch.get_rng_state().tolist()


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found_under_its_id(name: str):
    id_, make = FAULTS[name]
    optimizer, model = make()
    before = state(optimizer, model)
    found = audit(optimizer, model)
    assert id_ in [finding.id for finding in found.findings]
    assert state(optimizer, model) == before
    assert id_ not in [finding.id for finding in audit(optimizer, model, ignore=[id_]).findings]


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_set_up_has_no_finding(name: str):
    optimizer, model = HEALTHY[name]()
    before = state(optimizer, model)
    assert [str(finding) for finding in audit(optimizer, model).findings] == []
    assert state(optimizer, model) == before


def test_every_finding_is_planted_and_has_a_section_in_the_docs():
    every = [*PLAN_FINDINGS, *FINDINGS]
    assert {id_ for id_, _ in FAULTS.values()} == set(every)
    assert len(FAULTS) >= AS_MANY_FAULTS
    assert len(HEALTHY) >= AS_MANY_HEALTHY
    sections = re.findall(r"^## (\S+)$", (ROOT / "docs/audit.md").read_text("utf-8"), re.MULTILINE)
    assert [section for section in sections if section in every] == every


def check_zero() -> list[str]:
    model = Net()
    return ids(build_optimizer({**CONFIG, "zero": True}, model), model)


def check_zero_of_torch() -> list[str]:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = nn.Linear(4, 4, bias=False)
    optimizer = ZeroRedundancyOptimizer(model.parameters(), optimizer_class=torch.optim.AdamW, lr=1e-3, fused=True)
    return ids(optimizer, model)


def check_ddp() -> list[str]:
    model = nn.parallel.DistributedDataParallel(Net())
    return ids(adamw(split(model)), model)


def check_compiled() -> list[str]:
    model = Net()
    return ids(adamw(split(model)), torch.compile(model))


def check_fsdp2() -> list[str]:
    from torch.distributed.fsdp import fully_shard

    model = Net()
    fully_shard(model)
    optimizer = adamw(split(model))
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    return ids(optimizer, model)


def check_all(*checks: Any) -> dict[str, list[str]]:
    dist.barrier()
    return {check.__name__: check() for check in checks}


@pytest.mark.slow
def test_zero_ddp_and_compiled_models_are_healthy():
    (found,) = run(1, check_all, check_zero, check_zero_of_torch, check_ddp, check_compiled)
    assert found == {"check_zero": [], "check_zero_of_torch": [], "check_ddp": [], "check_compiled": []}


@needs_fsdp2_on_cpu
def test_fsdp2_on_one_rank_is_healthy():
    assert run(1, check_all, check_fsdp2) == [{"check_fsdp2": []}]


def test_an_unknown_id_is_refused_with_the_closest_one():
    model = nn.Linear(2, 2)
    with pytest.raises(UnknownNameError, match=r"no finding 'decay-on-norms'. Did you mean 'decay-on-norm'"):
        audit(adamw(model.parameters()), model, ignore=["decay-on-norms"])


def test_parameters_of_a_finding_are_in_model_order() -> None:
    shapes = {"fc.bias": frozenset(), "up_bias": frozenset({"bias"}), "out.bias": frozenset()}
    model = Inventory([ParamInfo(name, (2, 2), kinds=kinds) for name, kinds in shapes.items()])
    (found,) = plan_findings(make_plan({"optimizer": {"type": "adamw", "lr": 1, "weight_decay": 1}}, model))
    assert (found.id, found.params) == ("decay-on-bias", ("fc.bias", "up_bias", "out.bias"))
