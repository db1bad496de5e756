"""OmegaConf configs are read in every dialect, with what is read of them resolved."""

from __future__ import annotations

import enum
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest

from optimbuild import ConfigError
from optimbuild.config import read_config

omegaconf = pytest.importorskip("omegaconf")
OmegaConf = omegaconf.OmegaConf

OWN = {"optimizer": {"type": "adamw", "lr": 0.1, "betas": [0.9, 0.99]}, "rules": [{"type": "no_decay"}]}
YACS = {"TRAIN": {"BASE_LR": 0.1, "OPTIMIZER": {"NAME": "sgd", "FREEZE_BACKBONE": [0, 1]}}}
MMENGINE = {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}, "paramwise_cfg": {"bias_lr_mult": 2}}}


@pytest.mark.parametrize("config", [OWN, YACS, MMENGINE])
def test_an_omegaconf_config_reads_as_the_mapping_does(config: dict[str, Any]) -> None:
    assert read_config(OmegaConf.create(config)) == read_config(config)


def test_interpolations_are_resolved_against_the_whole_config() -> None:
    optimizer = {"type": "adamw", "lr": "${base}", "betas": "${betas}"}
    train = {**OWN, "optimizer": optimizer}
    whole = OmegaConf.create({"base": 0.1, "betas": [0.9, "${last}"], "last": 0.99, "train": train})
    assert read_config(whole.train).spec == read_config(OWN).spec


def test_keys_that_are_not_read_need_no_value() -> None:
    config = {"TRAIN": {**YACS["TRAIN"], "EPOCHS": "???", "MIN_LR": "${nowhere}"}, "DATA": {"path": "???"}}
    assert read_config(OmegaConf.create(config)).spec == read_config(YACS).spec
    config = {"work_dir": "???", "model": {"type": "${nowhere}"}, **MMENGINE}
    assert read_config(OmegaConf.create(config)).spec == read_config(MMENGINE).spec


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"type": "adamw", "lr": "???"}, r"^optimizer.lr: is mandatory \(`\?\?\?`\), and nothing gives it a value$"),
        ("???", r"^optimizer: is mandatory"),
        ({"type": "adamw", "lr": "${nowhere}"}, r"^optimizer.lr: cannot be resolved: .*'nowhere' not found"),
        ({"type": "adamw", "betas": ["${optimizer.betas[0]}", 0.9]}, r"^optimizer.betas\[0\]: cannot be resolved: "),
        ({"type": "adamw", "lr": "${unknown:1}"}, r"^optimizer.lr: cannot be resolved: .*unknown"),
    ],
)
def test_a_value_that_is_missing_or_unresolvable_is_an_error_at_its_path(optimizer: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(OmegaConf.create({"optimizer": optimizer}))


def test_an_error_of_a_resolver_is_an_error_at_its_path() -> None:
    OmegaConf.register_resolver("optimbuild.broken", lambda: 1 / 0, replace=True)
    with pytest.raises(ConfigError, match=r"^optimizer.lr: cannot be resolved: .*ZeroDivisionError"):
        read_config(OmegaConf.create({"optimizer": {"type": "adamw", "lr": "${optimbuild.broken:}"}}))


RULE = {"type": "no_decay", "vectors": "${nowhere}"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**OWN, "rules": [OmegaConf.create(RULE)]}, r"^rules\[0\].vectors: cannot be resolved"),
        ({**OWN, "rules": [OmegaConf.create({**RULE, "vectors": "???"})]}, r"^rules\[0\].vectors: is mandatory"),
        ({**OWN, "rules": OmegaConf.create([RULE])}, r"^rules\[0\].vectors: cannot be resolved"),
        ({**OWN, "rules": OmegaConf.create(["???"])}, r"^rules\[0\]: is mandatory"),
        ({**OWN, "optimizer": omegaconf.DictConfig(None)}, r"^optimizer: must be a mapping"),
        ({"TRAIN": {"OPTIMIZER": OmegaConf.create({"EPS": "???"})}}, r"^TRAIN.OPTIMIZER.EPS: is mandatory"),
        ({"TRAIN": OmegaConf.create({"BASE_LR": "${nowhere}"})}, r"^TRAIN.BASE_LR: cannot be resolved"),
        (
            {"optim_wrapper": {"optimizer": OmegaConf.create({"type": "SGD", "lr": "${nowhere}"})}},
            r"^optim_wrapper.optimizer.lr: cannot be resolved",
        ),
        (
            {
                "optim_wrapper": {
                    **MMENGINE["optim_wrapper"],
                    "paramwise_cfg": OmegaConf.create({"bias_lr_mult": "???"}),
                }
            },
            r"^optim_wrapper.paramwise_cfg.bias_lr_mult: is mandatory",
        ),
    ],
)
def test_a_part_that_cannot_be_resolved_is_an_error_at_any_depth(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(config)


def test_a_part_of_omegaconf_is_read_at_any_depth() -> None:
    betas = OmegaConf.create({"last": 0.99, "betas": [0.9, "${last}"]}).betas
    config = {"optimizer": {**OWN["optimizer"], "betas": betas}, "rules": [OmegaConf.create(OWN["rules"][0])]}
    assert read_config(config).spec == read_config(OWN).spec


def test_what_belongs_to_the_wrapper_needs_no_value() -> None:
    wrapper = {**MMENGINE["optim_wrapper"], "clip_grad": "${nowhere}", "accumulative_counts": "???"}
    expected = read_config(MMENGINE)
    assert read_config(OmegaConf.create({"optim_wrapper": wrapper})) == expected
    assert read_config({"optim_wrapper": OmegaConf.create(wrapper)}) == expected


class Kernel(enum.Enum):
    """An enum as structured configs have them."""

    fused = 1
    foreach = 2


@dataclass
class Optimizer:
    """The optimizer of a structured config."""

    type: str = "adamw"
    lr: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])


@dataclass
class Config:
    """A structured config."""

    optimizer: Optimizer = field(default_factory=Optimizer)
    rules: list[dict[str, Any]] = field(default_factory=lambda: [{"type": "no_decay"}])
    implementation: Kernel = Kernel.foreach


def test_a_structured_config_is_read_with_enums_by_their_names() -> None:
    spec = read_config(OmegaConf.structured(Config)).spec
    assert spec == read_config({**OWN, "implementation": "foreach"}).spec


def test_overrides_apply_to_an_omegaconf_config() -> None:
    spec = read_config(OmegaConf.create(OWN), ["optimizer.lr=0.2", "rules[0].optional=true"]).spec
    assert spec.optimizer.options["lr"] == 0.2
    assert spec.rules[0].optional


def test_the_config_is_not_changed() -> None:
    config = OmegaConf.create({"TRAIN": {"BASE_LR": "${lr}"}, "lr": 0.1, "DATA": "???"})
    before = OmegaConf.to_yaml(config)
    read_config(config)
    assert OmegaConf.to_yaml(config) == before


@pytest.mark.parametrize("config", [["a"], None, {}])
def test_an_omegaconf_object_that_is_no_config_is_an_error(config: Any) -> None:
    with pytest.raises(ConfigError, match=r"a config is a mapping|of no known dialect"):
        read_config(omegaconf.ListConfig(config) if isinstance(config, list) else omegaconf.DictConfig(config))


def test_reading_a_mapping_imports_no_omegaconf() -> None:
    code = (
        f"import sys; from optimbuild.config import read_config; read_config({OWN}); print('omegaconf' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
