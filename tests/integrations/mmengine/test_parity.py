"""Our constructor against the installed ``DefaultOptimWrapperConstructor``, on many models and configs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.optim import build_optim_wrapper
from torch import nn

from optimbuild import ConfigError
from tests.integrations.mmengine.project import OURS
from tests.integrations.mmengine.zoo import MMCV, ZOO
from tests.properties import examples

HOW = frozenset({"params", "param_names", "name", "foreach", "fused"})
"""What groups hold beside the options of their parameters."""

EXTRAS: Mapping[str, Mapping[str, Any]] = {
    "AdamW": {"betas": (0.5, 0.75), "eps": 1e-4, "amsgrad": True, "lr": 0.25, "weight_decay": 0.125},
    "SGD": {"momentum": 0.5, "dampening": 0.25, "nesterov": False, "maximize": True, "lr": 0.25, "weight_decay": 0.125},
}
FACTORS = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 1, 2, 3.7])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Keep MMEngine from logging a line for every parameter."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def mmcv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a stand-in for mmcv, and take it away again."""
    for name, text in MMCV.items():
        file = tmp_path / "mmcv" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv"]:
        del sys.modules[name]


def pieces(model: nn.Module) -> st.SearchStrategy[str]:
    """Draw custom keys: segments of the model's names, several of them, with and without dots, and parts of them."""
    names = [f".{name}" for name, _ in model.named_parameters(remove_duplicate=False)]
    return st.builds(
        lambda name, start, length: name[start % len(name) :][:length],
        st.sampled_from(names),
        st.integers(0, 60),
        st.integers(1, 20),
    ) | st.sampled_from(["", ".", "norm", ".bias", "weight", "nowhere"])


@st.composite
def configs(draw: st.DrawFn, model: nn.Module) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(EXTRAS)))
    extras = st.sets(st.sampled_from(sorted(EXTRAS[kind])), max_size=2)
    custom_key = st.fixed_dictionaries({}, optional={"lr_mult": FACTORS, "decay_mult": FACTORS})
    options = ("bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "dwconv_decay_mult")
    paramwise = draw(
        st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys((*options, "dcn_offset_lr_mult"), FACTORS),
                "custom_keys": st.dictionaries(pieces(model), custom_key, max_size=4),
                "bypass_duplicate": st.booleans(),
            },
        )
    )
    for key in paramwise.get("custom_keys", {}).values():
        key.update({name: EXTRAS[kind][name] for name in draw(extras)})
    optimizer: dict[str, Any] = {"type": kind, "lr": draw(st.sampled_from([0.1, 1e-3, 1]))}
    if kind == "SGD":
        optimizer["momentum"] = 0.9
    if draw(st.integers(0, 9)):
        optimizer["weight_decay"] = draw(st.sampled_from([0.05, 0.3, 0]))
    return {"optimizer": optimizer, "paramwise_cfg": paramwise}


def options_of(wrapper: Any, model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return, by the first name of each tensor, all options that the optimizer has for it."""
    name_of = {id(tensor): name for name, tensor in model.named_parameters()}
    return {
        name_of[id(tensor)]: {key: tuple(v) if isinstance(v, list) else v for key, v in group.items() if key not in HOW}
        for group in wrapper.optimizer.param_groups
        for tensor in group["params"]
    }


def theirs(model: nn.Module, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what MMEngine gives; it raises over shared tensors unless it is told to bypass them."""
    paramwise = dict(config["paramwise_cfg"])
    if len(list(model.parameters())) < len(list(model.named_parameters(remove_duplicate=False))) and paramwise:
        paramwise["bypass_duplicate"] = True
    found = options_of(build_optim_wrapper(model, {**config, "paramwise_cfg": paramwise}), model)
    for options in found.values():
        for stray in ("lr_mult", "decay_mult"):
            options.pop(stray, None)
    return found


# the models do not change, and the stand-in for mmcv may stay for all examples of a test
@settings(
    max_examples=examples(60),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:'pkgutil.find_loader':DeprecationWarning")
@pytest.mark.parametrize("name", sorted(ZOO))
def test_every_parameter_gets_what_mmengine_gives_it(name: str, data: st.DataObject) -> None:
    model = ZOO[name]()
    config = data.draw(configs(model))
    try:
        expected = theirs(model, config)
    except ValueError:  # MMEngine wants a weight decay where it multiplies it
        with pytest.raises(ConfigError, match=r"^optim_wrapper\.optimizer\.weight_decay: is required"):
            build_optim_wrapper(model, {**config, "constructor": OURS})
        return
    wrapper = build_optim_wrapper(model, {**config, "constructor": OURS})
    frozen = {name for name, tensor in model.named_parameters() if not tensor.requires_grad}
    assert options_of(wrapper, model) == {name: found for name, found in expected.items() if name not in frozen}
    settings_seen = {tuple(sorted((k, repr(v)) for k, v in options.items())) for options in expected.values()}
    assert len(wrapper.optimizer.param_groups) <= len(settings_seen)


def test_the_drawn_configs_reach_every_rule_of_mmengines() -> None:
    """Each key alone changes something in some model, so that the test above can fail over it."""
    base = {"type": "AdamW", "lr": 0.1, "weight_decay": 0.5}
    reached = set()
    for name, make in ZOO.items():
        model = make()
        plain = theirs(model, {"optimizer": base, "paramwise_cfg": {"custom_keys": {}}})
        for key in ("bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult", "dwconv_decay_mult"):
            if theirs(model, {"optimizer": base, "paramwise_cfg": {key: 0.5}}) != plain:
                reached.add(key)
        if (
            name == "Deformable"
            and theirs(model, {"optimizer": base, "paramwise_cfg": {"dcn_offset_lr_mult": 0.5}}) != plain
        ):
            reached.add("dcn_offset_lr_mult")
    assert len(reached) == 6


# --- the differences -------------------------------------------------------------------------

CONFIG = {"optimizer": {"type": "AdamW", "lr": 0.1, "weight_decay": 0.5}, "paramwise_cfg": {"bias_lr_mult": 2.0}}


def test_shared_tensors_are_planned_once_where_mmengine_raises() -> None:
    model = ZOO["Shared"]()
    with pytest.raises(ValueError, match="appear in more than one parameter group"):
        build_optim_wrapper(model, CONFIG)
    wrapper = build_optim_wrapper(model, {**CONFIG, "constructor": OURS})
    assert options_of(wrapper, model) == theirs(model, CONFIG)


def test_stray_keys_do_not_leak_into_groups() -> None:
    config = {**CONFIG, "paramwise_cfg": {"custom_keys": {"weight": {"lr_mult": 0.5, "decay_mult": 0.0}}}}
    model = nn.Linear(2, 2)
    assert "lr_mult" in build_optim_wrapper(model, config).optimizer.param_groups[0]
    for group in build_optim_wrapper(model, {**config, "constructor": OURS}).optimizer.param_groups:
        assert set(group) == {*torch.optim.AdamW([torch.zeros(1)]).param_groups[0], "param_names", "name"}


def test_frozen_parameters_stay_out_where_mmengine_keeps_them() -> None:
    model = ZOO["Frozen"]()
    config = {**CONFIG, "paramwise_cfg": None}
    count = len(list(model.parameters()))
    assert len(build_optim_wrapper(model, config).optimizer.param_groups[0]["params"]) == count
    assert (
        sum(len(g["params"]) for g in build_optim_wrapper(model, {**config, "constructor": OURS}).param_groups) < count
    )


def test_a_misspelt_key_is_an_error_where_mmengine_ignores_it() -> None:
    config = {**CONFIG, "paramwise_cfg": {"bias_lr_mul": 2.0}}
    assert build_optim_wrapper(nn.Linear(2, 2), config).param_groups[1]["lr"] == 0.1
    with pytest.raises(ConfigError, match="Did you mean 'bias_lr_mult'"):
        build_optim_wrapper(nn.Linear(2, 2), {**config, "constructor": OURS})


def test_a_child_named_module_does_not_hide_its_parent() -> None:
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    assert len(build_optim_wrapper(model, CONFIG).param_groups) == 3  # two tensors, and MMEngine's base settings
    assert len(build_optim_wrapper(model, {**CONFIG, "constructor": OURS}).optimizer.plan) == 4
