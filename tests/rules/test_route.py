"""Routing: who goes to another optimizer, what stays, and what is told."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from optimbuild import ConfigError, Inventory, Plan, build_optimizer, inventory, make_plan, optimizer, rule
from tests.models import Block

needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon since 2.9")
ADAMW = {"type": "adamw", "lr": 1e-3, "weight_decay": 0.1}
MUON = {"type": "muon", "lr": 0.02, "weight_decay": 0.1}
MODEL = inventory(
    nn.ModuleDict(
        {
            "embed": nn.Embedding(8, 4),
            "patch_embed": nn.Conv2d(3, 4, 2),
            "blocks": nn.ModuleList([Block(4) for _ in range(2)]),
            "head": nn.Linear(4, 8),
        }
    )
)
MATRICES = {f"blocks.{i}.{name}.weight" for i in (0, 1) for name in ("attn", "mlp.0", "mlp.2")}


def plan(*rules: dict[str, Any], **more: Any) -> Plan:
    return make_plan({"optimizer": ADAMW, "optimizers": {"muon": MUON}, "rules": list(rules), **more}, MODEL)


def routed(found: Plan, to: str = "muon") -> set[str]:
    return {decision.name for decision in found if decision.optimizer == to}


def route(**options: Any) -> dict[str, Any]:
    return {"type": "route", "to": "muon", **options}


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"kinds": ["matrix"], "except": ["output"]}, MATRICES),
        ({"kinds": ["matrix"]}, MATRICES | {"head.weight"}),
        ({"kinds": ["linear"], "min_dims": 2}, MATRICES | {"head.weight"}),
        ({"kinds": ["matrix"], "patterns": ["blocks.1"]}, {name for name in MATRICES if ".1." in name}),
        ({"min_dims": 2, "except": ["output", "embedding", "conv"]}, MATRICES),
        ({"kinds": ["matrix"], "except": ["output", "router", "**.attn"]}, {n for n in MATRICES if "mlp" in n}),
        ({"patterns": ["blocks.0.attn.weight", "head.weight"]}, {"blocks.0.attn.weight", "head.weight"}),
    ],
)
def test_what_is_given_must_hold_together_and_except_stays(options, names):
    assert routed(plan(route(**options))) == names


def test_every_rule_works_on_the_options_of_each_optimizer():
    found = plan(route(kinds=["matrix"], **{"except": ["output"]}), {"type": "no_decay"}, {
        "type": "layer_decay", "ratio": 0.5, "layers": ["embed", "blocks.{n}"],
    })  # fmt: skip
    assert (found["blocks.0.attn.weight"].lr, found["blocks.0.attn.bias"].lr) == (0.01, 5e-4)
    assert (found["blocks.1.attn.weight"].lr, found["embed.weight"].lr) == (0.02, 2.5e-4)
    assert [step.rule for step in found.explain("blocks.0.attn.weight")] == ["route", "layer_decay"]
    assert found.explain("blocks.0.attn.weight")[0].after["optimizer"] == "muon"


def test_a_matching_entry_routes_too():
    table = [{"kinds": ["output"]}, {"kinds": ["matrix"], "optimizer": "muon", "lr_mult": 0.5}]
    found = plan({"type": "match", "table": table})
    assert routed(found) == MATRICES
    assert found["blocks.0.attn.weight"].lr == 0.01


def test_a_note_says_what_except_kept_and_by_which_evidence():
    notes = plan(route(kinds=["matrix"], **{"except": ["output", "embedding"]})).notes
    assert "route: not routed to muon, as except names output (its module is called head): head.weight" in notes


@pytest.mark.parametrize("written", ["own", "yacs", "MMEngine"])
def test_every_dialect_has_the_key(written):
    rules = [route(kinds=["matrix"])]
    config: dict[str, Any] = {"optimizer": ADAMW, "optimizers": {"muon": MUON}, "rules": rules}
    if written == "yacs":
        config = {"TRAIN": {"OPTIMIZER": {"NAME": "adamw", "OPTIMIZERS": {"muon": MUON}, "RULES": rules}}}
    if written == "MMEngine":
        wrapper = {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-3}}
        config = {"optim_wrapper": {**wrapper, "paramwise_cfg": {"optimizers": {"muon": MUON}, "rules": rules}}}
    found = make_plan(config, MODEL)
    assert routed(found) == MATRICES | {"head.weight"}
    assert Plan.from_json(found.to_json()) == found


# --- mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": []}, r"^optimizers.muon: no rule routes a parameter to it. Add \{type: route, to: muon"),
        ({"rules": [route(kinds=["matrix"]), {"type": "freeze", "patterns": ["blocks", "head"]}]},
         r"^optimizers.muon: trains no parameter: what rules\[0\] \(route\) routes to it is frozen"),
        ({"rules": [{"type": "route", "to": "sgd", "min_dims": 0}], "optimizers": {"sgd": {"type": "sgd", "lr": 0.1}}},
         r"^optimizer: every trained parameter is routed away from adamw"),
        ({"rules": [route(kinds=["norm"])]},
         r"^rules\[0\]: muon does not take 4 parameters that it is given: blocks.0.norm.weight.*tensors of 2 dim"),
        ({"rules": [route(kinds=["router"])]},
         r"^rules\[0\].kinds\[0\]: 'router' matches no parameter. ModuleDict has no router; its kinds are: .*matrix"),
        ({"rules": [route(kinds=["matrix"], patterns=["head.bias"])]},
         r"^rules\[0\].to: 'muon' matches no parameter. No parameter is of kinds matrix and patterns head.bias a"),
        ({"rules": [route(kinds=["matrix"], **{"except": ["matrix"]})]}, r"`except` keeps back all 7"),
        ({"rules": [route(kinds=["matrices"])]}, r"^rules\[0\].kinds\[0\]: must be .*'matrix'.*given: 'matrices'"),
        ({"rules": [route()]}, r"^rules\[0\]: route needs `patterns`, `kinds` or `min_dims`"),
        ({"rules": [{**route(kinds=["matrix"]), "excpt": []}]}, r"unknown key 'excpt'. Did you mean 'except'\?"),
        ({"rules": [{**route(kinds=["matrix"]), "to": "moun"}]},
         r"^rules\[0\].*unknown optimizer 'moun'.*`optimizers`: muon"),
        ({"optimizers": {"muon": {"type": "muun"}}}, r"^optimizers.muon.type: unknown optimizer 'muun'"),
        ({"optimizers": {"muon": {**MUON, "mom": 1}}}, r"^optimizers.muon: muon takes no option 'mom'"),
        ({"optimizers": {"adamw": MUON}}, r"^optimizers.adamw: 'adamw' is the config's own optimizer"),
        ({"optimizers": {"sgd": MUON}}, r"^optimizers.sgd: 'sgd' is another optimizer than muon"),
        ({"optimizers": {"muon": 3}}, r"^optimizers.muon: must be a mapping"),
        ({"optimizers": ["muon"]}, r"^optimizers: must be a mapping"),
        ({"optimizers": {"": MUON}}, r"^optimizers"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_it_is_and_what_would_be_right(changes, message):
    config = {"optimizer": ADAMW, "optimizers": {"muon": MUON}, "rules": [route(kinds=["matrix"])], **changes}
    with pytest.raises(ConfigError) as caught:
        make_plan(config, MODEL)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_names_are_found_whatever_their_case_and_the_own_one_may_be_named():
    found = plan({"type": "route", "to": "adamw", "min_dims": 0}, {**route(kinds=["matrix"]), "to": "Muon"})
    assert routed(found) == MATRICES | {"head.weight"}
    assert found["head.weight"].lr == MUON["lr"]
    with pytest.raises(ConfigError, match=r"^optimizers.muon: 'muon' differs from another name by its case only"):
        plan(route(kinds=["matrix"]), optimizers={"muon": MUON, "MUON": MUON})
    with pytest.raises(
        ConfigError, match=r"except\[0\]: 'outputs' matches no parameter. Did you mean the kind 'output'"
    ):
        plan(route(kinds=["matrix"], **{"except": ["outputs"]}))


def test_less_decay_of_what_has_none_is_no_error():
    rules = [
        {"type": "route", "to": "sparse", "kinds": ["embedding"]},
        {"type": "match", "table": {"embed": {"decay_mult": 0.0}}},
    ]
    found = plan(*rules, optimizers={"sparse": {"type": "SparseAdam", "lr": 0.1}})
    assert found["embed.weight"].lr == 0.1


def test_without_strict_an_idle_optimizer_is_a_warning():
    (warning,) = plan(strict=False).warnings
    assert warning.startswith("optimizers.muon: no rule routes a parameter to it")


def test_a_pattern_under_except_that_matches_nothing_is_told():
    warnings = plan(route(kinds=["matrix"], **{"except": ["output", "router", "**.hed"]})).warnings
    assert warnings == ("rules[0] (route): except[2] '**.hed' matches no parameter",)


class Picky(torch.optim.SGD):
    """Takes no tensor of one dimension, and says so when it is constructed."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        if any(tensor.ndim == 1 for group in self.param_groups for tensor in group["params"]):
            raise ValueError("no vectors")


def test_a_class_that_declares_nothing_is_asked_what_it_takes():
    optimizer("test_picky", Picky, force=True)
    config = {"optimizer": ADAMW, "rules": [{"type": "route", "to": "test_picky", "kinds": ["linear"]}]}
    with pytest.raises(ConfigError, match=r"^rules\[0\]: test_picky does not take 7 parameters.*no vectors"):
        make_plan(config, MODEL)
    config["rules"][0]["min_dims"] = 2
    assert routed(make_plan(config, MODEL), "test_picky") == MATRICES | {"head.weight"}
    with pytest.raises(ConfigError, match=r"^optimizer.type: test_picky does not take"):
        make_plan({"optimizer": {"type": "test_picky"}}, MODEL)


# --- any routes -------------------------------------------------------------------------------


@rule("test_scatter")
class Scatter:
    """Routes each parameter as its options say, by position."""

    to: tuple[str, ...]

    def bind(self, model: Inventory) -> Any:
        from optimbuild import Edit, Edits

        edits = Edits(model)
        for i, param in enumerate(model):
            name = self.to[i % len(self.to)]
            if name:
                edits.give([param], Edit(optimizer=name, why=name))
        return edits


@given(
    st.lists(st.sampled_from(["", "slow", "rms", "NAdam"]), min_size=1, max_size=6).filter(lambda to: "" in to),
    st.booleans(),
    st.lists(st.sampled_from(["blocks.0", "head", "embed", "**.bias"]), max_size=2, unique=True),
)
def test_each_trained_parameter_is_in_one_group_of_one_member(to, decay, frozen):
    model = nn.ModuleDict({"embed": nn.Embedding(8, 4), "blocks": nn.ModuleList([Block(4)]), "head": nn.Linear(4, 8)})
    config = {
        "optimizer": ADAMW,
        "optimizers": {"slow": {"type": "sgd", "lr": 1e-4}, "rms": {"type": "RMSprop", "lr": 1e-3}},
        "rules": [
            {"type": "test_scatter", "to": to},
            *[{"type": "no_decay"}] * decay,
            *[{"type": "freeze", "patterns": frozen}] * bool(frozen),
        ],
        "strict": False,
    }
    found = make_plan(config, model)
    built = build_optimizer(config, model)
    params = dict(model.named_parameters())
    names = [name for group in built.param_groups for name in group["param_names"]]
    assert sorted(names) == sorted(set(params) - set(found.frozen))
    assert built.plan.fingerprint == found.fingerprint == Plan.from_json(found.to_json()).fingerprint
    for group in built.param_groups:
        for name, tensor in zip(group["param_names"], group["params"], strict=True):
            decision = found[name]
            assert tensor is params[name]
            assert group.get("optimizer", decision.optimizer) == decision.optimizer
            assert all(group[key] == value for key, value in decision.options.items() if key in group)
    members = getattr(built, "members", {"": built}).values()
    held = [id(tensor) for member in members for group in member.param_groups for tensor in group["params"]]
    assert sorted(held) == sorted(id(params[name]) for name in names)
