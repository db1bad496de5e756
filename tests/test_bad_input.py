"""Bad input ends in an error of ours that says what, where and what instead, and nothing was changed."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from optimbuild import Inventory, OptimBuildError, build_optimizer, inventory, make_plan
from tests.models import Net
from tests.properties import examples
from tests.random_plans import CONFIGS

INF, NAN = float("inf"), float("nan")


def own(*rules: Any, **optimizer: Any) -> dict[str, Any]:
    return {"optimizer": {"type": "adamw", **optimizer}, "rules": list(rules)}


def no_decay(**options: Any) -> dict[str, Any]:
    return own({"type": "no_decay", **options})


def layer_decay(**options: Any) -> dict[str, Any]:
    return own({"type": "layer_decay", **options})


def dcn(**options: Any) -> dict[str, Any]:
    return own({"type": "dcn_lr", **options})


def freeze(**options: Any) -> dict[str, Any]:
    return own({"type": "freeze", **options})


def match(table: Any) -> dict[str, Any]:
    return own({"type": "match", "table": table})


R = "rules[0]"
PROBING = "sgd_linear_probing"
NEGATIVE = "must be greater than or equal to 0 (given: -1"
WRONG: list[tuple[Any, str]] = [
    # the optimizer
    (own(type="adamx"), "optimizer.type: unknown optimizer 'adamx'. Did you mean 'adamw'?"),
    (own(type="ADAMWW"), "optimizer.type: unknown optimizer 'ADAMWW'. Did you mean 'adamw'"),
    (own(type="no_decay"), "optimizer.type: unknown optimizer 'no_decay'."),
    (own(type="os.system"), "optimizer.type: unknown optimizer 'os.system'. Only registered names can be used here"),
    (own(type="torch.optim.AdamW"), "optimizer.type: unknown optimizer 'torch.optim.AdamW'."),
    (own(type="torch.optim:AdamW"), "has no optimizer 'optim:AdamW'. Did you mean 'AdamW'?"),
    (own(type="antigravity.geohash"), "a dotted path is never imported"),
    (own(type="../../etc/passwd"), "unknown optimizer '../../etc/passwd'"),
    (own(type="\x1b[31madamw"), r"unknown optimizer '\x1b[31madamw'"),
    (own(type="x" * 10_000), "unknown optimizer 'xxxx"),
    (own(lr=-1), f"optimizer.lr: {NEGATIVE}"),
    (own(lr=NAN), "optimizer.lr: must be a finite number, not nan"),
    (own(lr=INF), "optimizer.lr: must be a finite number, not inf"),
    (own(lr="-inf"), "optimizer.lr: must be a finite number (given: '-inf')"),
    (own(lr="1e999"), "optimizer.lr: must be a finite number (given: '1e999')"),
    (own(lr=10**400), "optimizer.lr: must be a number of at most 64 bits"),
    (own(lr="fast"), "optimizer.lr: must be a number (given: 'fast')"),
    (own(lr=None), "optimizer.lr: must be a number (given: None)"),
    (own(lr=True), "optimizer.lr: must be a number, not a truth value (given: True)"),
    (own(lr=[1e-3]), "optimizer.lr: must be a number (given: (0.001,))"),
    (own(lr={"a": 1}), "optimizer.lr: must be a number (given: {'a': 1})"),
    (own(lr=print), "optimizer.lr: must be plain data"),
    (own(weight_decay=-1e-9), "optimizer.weight_decay: must be greater than or equal to 0 (given: -1e-09)"),
    (own(weight_decay=NAN), "optimizer.weight_decay: must be a finite number"),
    (own(betas=[0.9]), "optimizer.betas: needs more than 1 item"),
    (own(betas=[0.9, 0.9, 0.9]), "optimizer.betas: "),
    (own(betas=[0.9, 1]), "optimizer.betas[1]: must be less than 1 (given: 1)"),
    (own(betas=[-0.1, 0.9]), "optimizer.betas[0]: must be greater than or equal to 0 (given: -0.1)"),
    (own(betas="0.9, 0.99"), "optimizer.betas: must be a list (given: '0.9, 0.99')"),
    (own(eps=-1), f"optimizer.eps: {NEGATIVE}"),
    (own(amsgrad="maybe"), "optimizer.amsgrad: must be true or false (given: 'maybe')"),
    (own(amsgrad=3), "optimizer.amsgrad: must be true or false (given: 3)"),
    (own(fused="yes"), "optimizer.fused: must be true, false or null, not 'yes'"),
    (own(learning_rate=1), "optimizer: adamw takes no option 'learning_rate'. It takes: amsgrad, betas"),
    (own(wieght_decay=1), "optimizer: adamw takes no option 'wieght_decay'. Did you mean 'weight_decay'?"),
    (own(momentum=0.9), "optimizer: adamw takes no option 'momentum'."),
    (own(params=[1]), "optimizer: adamw takes no option 'params'."),
    (own(self=1), "optimizer: adamw takes no option 'self'."),
    (own(__class__=1), "optimizer: adamw takes no option '__class__'."),
    (own(model_extra=1), "optimizer: adamw takes no option 'model_extra'."),
    (own(**{"a-b": 1}), "optimizer: adamw takes no option 'a-b'."),
    (own(**{"": 1}), "optimizer: adamw takes no option ''."),
    (own(type="sgd", momentum=0), "optimizer: nesterov needs a momentum above 0"),
    (own(type="sgd", dampening=0.1), "optimizer: nesterov needs a momentum above 0 and no dampening"),
    (own(type="sgd", betas=[1, 1]), "optimizer: sgd takes no option 'betas'."),
    (own(type=PROBING, weight_decay=0.1), "optimizer.weight_decay: sgd_linear_probing fixes weight_decay to 0.0; 0.1"),
    (own(type=PROBING, momentum=0.5), "optimizer.momentum: sgd_linear_probing fixes momentum to 0.9; 0.5 was"),
    (own(type=PROBING, nesterov=True), "optimizer.nesterov: sgd_linear_probing fixes nesterov to False; True"),
    (own(type="RMSprop", alpha="x"), "optimizer.alpha: must be a number (given: 'x')"),
    (own(type="RMSprop", lr=-1), f"optimizer.lr: {NEGATIVE}"),
    (own(type="RMSprop", alfa=1), "optimizer: RMSprop takes no option 'alfa'. Did you mean 'alpha'?"),
    # the canonical config
    ({"optimizer": {"type": "adamw"}, "rule": []}, "unknown key 'rule'. Did you mean 'rules'?"),
    ({"optimizer": {"type": "adamw"}, "zero": "on"}, "zero: must be true or false (given: 'on')"),
    ({"optimizer": {"type": "adamw"}, "zero": {"stage": 2}}, "zero.stage: must be 1"),
    ({"optimizer": {"type": "adamw"}, "implementation": "cuda"}, "implementation: must be 'auto', 'fused', "),
    ({"optimizer": {"type": "LBFGS"}, "implementation": "fused"}, "implementation: LBFGS has no fused implementation"),
    ({"optimizer": {"type": "adamw"}, "rules": None}, "rules: must be a list (given: None)"),
    ({"optimizer": {"type": "adamw"}, "rules": [None]}, "rules[0]: must be a mapping (given: None)"),
    # rules
    (own({"type": "nodecay"}), f"{R}.type: unknown rule 'nodecay'. Did you mean 'no_decay'?"),
    (own({"type": "sgd"}), f"{R}.type: unknown rule 'sgd'."),
    (own({"type": "os.system"}), "a dotted path is never imported"),
    (own({"type": "match"}), f"{R}.table: is required"),
    (no_decay(bais=True), f"{R}: unknown key 'bais'. Did you mean 'bias'?"),
    (no_decay(bias=2), f"{R}.bias: must be true or false (given: 2)"),
    (no_decay(names="pos_embed"), f"{R}.names: must be a list (given: 'pos_embed')"),
    (no_decay(names=[3]), f"{R}.names[0]: must be a string (given: 3)"),
    (no_decay(names=["pos_embd"]), f"{R}.names[0]: 'pos_embd' matches no parameter. Closest: pos_embed"),
    (no_decay(keywords=[""]), f"{R}.keywords[0]: must not be empty"),
    (no_decay(keywords=["emb", "rel_pos"]), f"{R}.keywords[1]: 'rel_pos' matches no parameter."),
    (layer_decay(), f"{R}.ratio: is required"),
    (layer_decay(ratio=0), f"{R}.ratio: must be greater than 0 (given: 0)"),
    (layer_decay(ratio=1.01), f"{R}.ratio: must be less than or equal to 1 (given: 1.01)"),
    (layer_decay(ratio=NAN), f"{R}.ratio: must be a finite number"),
    (layer_decay(ratio=0.5, min_scale=-1), f"{R}.min_scale: {NEGATIVE}"),
    (layer_decay(ratio=0.5, min_scale=2), f"{R}.min_scale: must be less than or equal to 1 (given: 2)"),
    (layer_decay(ratio=0.5, layers="atuo"), f'{R}.layers: must be "auto", or a list of layers'),
    (layer_decay(ratio=0.5, layers=[]), f'{R}.layers: must be "auto", or a list of layers'),
    (layer_decay(ratio=0.5, layers=[[]]), f'{R}.layers: must be "auto", or a list of layers'),
    (layer_decay(ratio=0.5, layers={"a": 1}), f"{R}.layers.a: must be a string (given: 1)"),
    (layer_decay(ratio=0.5, layers=[3]), f"{R}.layers[0]: must be a string (given: 3)"),
    (layer_decay(ratio=0.5, layers=["stem", ["blocks.{n}", ""]]), f"{R}.layers[1][1]: a pattern must not be empty"),
    (layer_decay(ratio=0.5, layers=["blokcs.{n}"]), f"{R}.layers[0]: 'blokcs.{{n}}' matches no parameter. Closest: "),
    (dcn(), f"{R}.factor: is required"),
    (dcn(factor=0), f"{R}.factor: must be greater than 0 (given: 0)"),
    (dcn(factor=-INF), f"{R}.factor: must be a finite number"),
    (dcn(factor=0.1), f"{R}: rule 'dcn_lr' touches no parameter of Net."),
    (dcn(factor=0.1, keywords=["offset"]), f"{R}.keywords[0]: 'offset' matches no parameter."),
    (freeze(), f"{R}: freeze needs `patterns` or `levels`"),
    (freeze(patterns=[], levels=[]), f"{R}: freeze needs `patterns` or `levels`"),
    (freeze(patterns="stem"), f"{R}.patterns: must be a list (given: 'stem')"),
    (freeze(patterns=["stem."]), f"{R}.patterns[0]: a pattern has no empty segment"),
    (freeze(patterns=["re:["]), f"{R}.patterns[0]: is not a regular expression"),
    (freeze(patterns=["**stem"]), f"{R}.patterns[0]: `**` is a segment of its own"),
    (freeze(patterns=["blocks.9"]), f"{R}.patterns[0]: 'blocks.9' matches no parameter. Closest: blocks"),
    (freeze(patterns=["\x1b[2J"]), rf"{R}.patterns[0]: '\x1b[2J' matches no parameter."),
    (freeze(patterns=["stem"], pattern="x"), f"{R}: unknown key 'pattern'. Did you mean 'patterns'?"),
    (freeze(levels=["x"]), f"{R}.levels[0]: must be a whole number (given: 'x')"),
    (freeze(levels=[0]), f"{R}.levels[0]: '**.levels.0' matches no parameter."),
    (freeze(patterns=["**"]), "every parameter is frozen, so there is nothing to optimize."),
    (match({}), f"{R}: the table is empty"),
    (match(3), f"{R}.table: must be a mapping from pattern to options, or a list of entries (given: 3)"),
    (match({"head": 3}), f"{R}.table: what stands under 'head' must be a mapping of options, not 3"),
    (match({"head": {"lr_mul": 0.1}}), f"{R}.table.head: unknown key 'lr_mul'. Did you mean 'lr_mult'?"),
    (match({"head": {"lr_mult": -1}}), f"{R}.table.head.lr_mult: {NEGATIVE}"),
    (match({"head": {"decay_mult": NAN}}), f"{R}.table.head.decay_mult: must be a finite number"),
    (match({"blocks.0": {"kinds": ["nrom"]}}), f"{R}.table['blocks.0'].kinds[0]: must be 'norm', 'bias'"),
    (match({"head": {"lr": -1}}), f"{R}.lr: {NEGATIVE}) (asked for by: pattern 'head')"),
    (match({"head": {"momentum": 1}}), f"{R}: adamw takes no option 'momentum'."),
    (match({"": {"lr": 1}}), f"{R}.table['']: a pattern must not be empty"),
    (match({"hed": {"lr": 1}}), f"{R}.table.hed: 'hed' matches no parameter. Closest: head"),
    (match([{"lr": 1}]), f"{R}.table[0]: an entry needs a `pattern`, `kinds`, or both"),
    (match([{"kinds": ["conv"], "lr": 1}]), f"{R}.table[0]: kinds conv matches no parameter."),
    # what is no config at all
    (None, "a config is a mapping, a Spec or a path, not None"),
    (42, "a config is a mapping, a Spec or a path, not 42"),
    ({}, "this config is of no known dialect"),
    ({"optimizer": None}, "optimizer: must be a mapping (given: None)"),
    ({1: 2}, "this config is of no known dialect"),
    ({None: 2}, "keys must be names, not None"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_input_is_named_and_nothing_is_changed(config, message):
    model = Net()
    before = copy.deepcopy(config), [tensor.requires_grad for tensor in model.parameters()]
    errors = []
    for attempt in (make_plan, build_optimizer):
        with pytest.raises(OptimBuildError) as caught:
            attempt(config, model)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
    assert message in errors[0]
    assert errors[0].isprintable()
    assert len(errors[0]) < 800
    assert repr(config) == repr(before[0])
    assert [tensor.requires_grad for tensor in model.parameters()] == before[1]


def test_no_name_of_a_config_imports_anything():
    names = [
        "antigravity",
        "antigravity.geohash",
        "this.s",
        "turtledemo.clock.main",
        "mmengine.antigravity",
        "x.antigravity",
    ]
    with pytest.raises(OptimBuildError):
        make_plan(own(type="nobody"), Net())  # which looks wherever there is to look
    before = set(sys.modules)
    for name in names:
        configs = [own(type=name), own({"type": name}), {"TRAIN": {"OPTIMIZER": {"NAME": name}}}]
        configs.append({"optim_wrapper": {"optimizer": {"type": name}, "constructor": name}})
        for config in configs:
            with pytest.raises(OptimBuildError):
                make_plan(config, Net())
    assert set(sys.modules) - before == set()


def test_the_error_about_ambiguous_depths_has_the_path_of_the_layers():
    with pytest.raises(
        OptimBuildError, match=r"^rules\[0\]\.layers: depth cannot be inferred from the names"
    ) as caught:
        make_plan(layer_decay(ratio=0.5), Net(depth=1))
    assert "\n  layers:\n" in str(caught.value)


# --- thousands of malformed configs -----------------------------------------------------------

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(
        ["adamw", "sgd", "no_decay", "match", "freeze", "head", "**", "re:(", "1e-3", "auto", "os.system", "[", "\x1b"]
    )
    | st.sampled_from([10**400, b"x", print, object, {1}, "x" * 5000]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.text(max_size=3)
            | st.integers()
            | st.sampled_from(["type", "lr", "table", "patterns", "layers", "ratio", "kinds"]),
            below,
            max_size=3,
        )
    ),
    max_leaves=8,
)
YACS_CONFIGS = st.fixed_dictionaries(
    {
        "TRAIN": st.fixed_dictionaries(
            {},
            optional={
                "BASE_LR": st.floats(0, 1),
                "WEIGHT_DECAY": st.floats(0, 1),
                "LR_LAYER_DECAY": st.booleans(),
                "LR_LAYER_DECAY_RATIO": st.floats(0.1, 1),
                "OPTIMIZER": st.fixed_dictionaries(
                    {},
                    optional={
                        "NAME": st.sampled_from(["adamw", "sgd", "sgd_linear_probing"]),
                        "BETAS": st.just([0.9, 0.99]),
                        "EPS": st.just("1e-8"),
                        "MOMENTUM": st.just(0.9),
                        "FREEZE_BACKBONE": st.none() | st.just([0]),
                        "DCN_LR_MUL": st.none() | st.just(0.1),
                        "RULES": st.just([{"type": "no_decay", "optional": True}]),
                        "ZERO": st.just({"stage": 1}),
                        "STRICT": st.just(False),
                        "REFERENCE_QUIRKS": st.booleans(),
                    },
                ),
            },
        )
    }
)
MMENGINE_CONFIGS = st.fixed_dictionaries(
    {
        "optim_wrapper": st.fixed_dictionaries(
            {"optimizer": st.fixed_dictionaries({"type": st.sampled_from(["adamw", "SGD"]), "lr": st.just(0.1)})},
            optional={
                "constructor": st.sampled_from(["optimbuild.OptimBuildConstructor", "DefaultOptimWrapperConstructor"]),
                "paramwise_cfg": st.fixed_dictionaries(
                    {},
                    optional={
                        "custom_keys": st.just({"head": {"lr_mult": 0.1}}),
                        "norm_decay_mult": st.just(0.0),
                        "rules": st.just([{"type": "no_decay", "optional": True}]),
                        "strict": st.just(False),
                    },
                ),
                "clip_grad": st.just({"max_norm": 1.0}),
            },
        )
    }
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a config."""
    items = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def broken(draw: Any, configs: st.SearchStrategy[Any]) -> Any:
    """Draw a config of which some places hold junk, are missing, or have another name."""
    config = copy.deepcopy(draw(configs))
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from([*places(config), ("optimizer",)]))
        node = config
        for key in above:
            node = node[key]
        change = draw(st.sampled_from(["replace", "remove", "rename", "add"]))
        if change == "remove" and last in (node if isinstance(node, dict) else range(len(node))):
            del node[last]
        elif change == "rename" and isinstance(node, dict) and last in node:
            node[draw(st.text(max_size=3)) + str(last)] = node.pop(last)
        elif change == "add" and isinstance(node, dict):
            node[draw(st.text(max_size=4) | st.integers() | st.none())] = draw(JUNK)
        else:
            node[last] = draw(JUNK)
    return config


MODELS = [
    Inventory.from_dict({"params": [{"name": name, "shape": [2] * (2 - name.endswith("bias"))} for name in names]})
    for names in (
        ["levels.0.fc.weight", "levels.0.dcn.offset.bias", "levels.1.fc.weight", "head.weight", "head.bias"],
        ["a.weight"],
    )
]
MODELS.append(inventory(Net()))


def planned_or_refused(config: Any, model: Inventory) -> None:
    before = repr(config)
    try:
        make_plan(config, model).to_json()
    except OptimBuildError as error:
        message = str(error)
    else:
        message = ""
    assert len(message) < 2000
    assert message.replace("\n", "").isprintable()
    assert repr(config) == before


@settings(max_examples=examples(1200), deadline=None)
@given(broken(CONFIGS), st.sampled_from(MODELS))
def test_a_broken_config_of_our_own_is_a_plan_or_an_error_of_ours(config, model):
    planned_or_refused(config, model)


@settings(max_examples=examples(600), deadline=None)
@given(broken(YACS_CONFIGS), st.sampled_from(MODELS))
def test_a_broken_yacs_config_is_a_plan_or_an_error_of_ours(config, model):
    planned_or_refused(config, model)


@settings(max_examples=examples(300), deadline=None)
@given(broken(MMENGINE_CONFIGS), st.sampled_from(MODELS))
def test_a_broken_mmengine_config_is_a_plan_or_an_error_of_ours(config, model):
    planned_or_refused(config, model)


@settings(max_examples=examples(300), deadline=None)
@given(JUNK | st.dictionaries(st.sampled_from(["optimizer", "rules", "TRAIN", "optim_wrapper", "zero"]), JUNK))
@example({"optimizer": {"type": "adamw", "lr": 0.1}, "optim_wrapper": 3})
def test_junk_is_a_plan_or_an_error_of_ours(config):
    if not isinstance(config, str):
        planned_or_refused(config, MODELS[0])
