"""The hook that logs learning rates rightly where there are several groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mmengine.runner import LogProcessor

from optimbuild.integrations.mmengine.lr_hook import LrLogProcessor
from tests.integrations.mmengine.project import adamw, trained
from tests.integrations.mmengine.test_constructor import Gan, gan, seeded

SLOW_STEM = {"custom_keys": {"backbone": {"lr_mult": 0.01}, "head": {"lr_mult": 2.0}}}
HALVES = [{"type": "ExponentialLR", "gamma": 0.5, "by_epoch": False}]


def logged(*hooks: str) -> dict[str, Any]:
    """Return what makes a runner write the values of every iteration into a file."""
    return {
        "custom_hooks": [{"type": f"optimbuild.{hook}"} for hook in hooks],
        "default_hooks": {"checkpoint": None, "logger": {"type": "LoggerHook", "interval": 1}},
        "visualizer": {"type": "Visualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
    }


def scalars(work_dir: Path) -> list[dict[str, Any]]:
    (file,) = work_dir.glob("*/vis_data/scalars.json")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def test_lr_is_the_base_lr_with_the_extremes_beside_it(tmp_path: Path) -> None:
    trained(tmp_path, 2, adamw(classic=SLOW_STEM), param_scheduler=HALVES, **logged("LrHook"))
    rows = scalars(tmp_path)
    assert [row["lr"] for row in rows] == [0.02, 0.01, 0.005, 0.0025]
    assert [row["lr/min"] for row in rows] == [0.0002, 0.0001, 0.00005, 0.000025]
    assert [row["lr/max"] for row in rows] == [0.04, 0.02, 0.01, 0.005]


def test_without_the_hook_lr_is_that_of_the_first_group(tmp_path: Path) -> None:
    trained(tmp_path, 1, adamw(classic=SLOW_STEM), param_scheduler=HALVES, **logged())
    assert [row["lr"] for row in scalars(tmp_path)] == [0.0002, 0.0001]


def test_every_iteration_has_one_value(tmp_path: Path) -> None:
    runner = trained(tmp_path, 2, adamw(classic=SLOW_STEM), **logged("LrHook"))
    assert all(len(runner.message_hub.get_scalar(f"train/{key}").data[0]) == 4 for key in ("lr", "lr/min", "lr/max"))


@pytest.mark.parametrize("factor", [0.1, 1.0])
def test_the_base_lr_is_known_where_no_group_has_it(factor: float, tmp_path: Path) -> None:
    everything = {"custom_keys": {"": {"lr_mult": factor}}}
    runner = trained(tmp_path, 2, adamw(classic=everything), param_scheduler=HALVES, **logged("LrHook"))
    assert len(runner.optim_wrapper.optimizer.param_groups) == 1
    assert [row["lr"] for row in scalars(tmp_path)] == [0.02, 0.01, 0.005, 0.0025]
    assert scalars(tmp_path)[-1]["lr/max"] == 0.02 * factor / 8


def test_log_lines_show_the_extremes_with_an_exponent(tmp_path: Path) -> None:
    trained(tmp_path, 1, adamw(classic=SLOW_STEM), **logged("LrHook"))
    (log,) = tmp_path.glob("*/*.log")
    line = next(line for line in log.read_text("utf-8").splitlines() if "Epoch(train)" in line)
    assert " lr: 2.0000e-02 " in line
    assert "lr/min: 2.0000e-04" in line
    assert "lr/max: 4.0000e-02" in line


def test_each_of_several_optimizers_has_its_own_values(tmp_path: Path) -> None:
    trained(tmp_path, 1, gan(), model=seeded(Gan), **logged("LrHook"))
    row = scalars(tmp_path)[-1]
    assert (row["generator.lr"], row["generator.lr/min"], row["generator.lr/max"]) == (0.01, 0.005, 0.01)
    assert (row["critic.lr"], row["critic.lr/min"], row["critic.lr/max"]) == (0.1, 0.1, 0.1)


def test_a_log_processor_of_ones_own_stays(tmp_path: Path) -> None:
    class Own(LogProcessor):
        pass

    runner = trained(tmp_path, 1, adamw(), log_processor=Own(window_size=3), **logged("LrHook"))
    assert type(runner.log_processor) is Own
    runner = trained(
        tmp_path / "plain", 1, adamw(), log_processor={"window_size": 3, "num_digits": 2}, **logged("LrHook")
    )
    assert type(runner.log_processor) is LrLogProcessor
    assert (runner.log_processor.window_size, runner.log_processor.num_digits) == (3, 2)


def test_under_another_constructor_mmengines_values_stay(tmp_path: Path) -> None:
    trained(tmp_path, 1, adamw(ours=False, classic=SLOW_STEM), **logged("LrHook"))
    assert [row["lr"] for row in scalars(tmp_path)] == [0.0002, 0.0002]
    assert "lr/min" not in scalars(tmp_path)[0]
