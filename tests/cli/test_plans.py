"""The plans that the arguments of a command ask for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optimbuild import Inventory, ParamInfo
from optimbuild.cli import main

MODEL = Inventory((ParamInfo("head.weight", (2, 4)), ParamInfo("head.bias", (2,))))
OPTIMIZER = {"type": "SGD", "lr": 0.01, "weight_decay": 0.0005, "batch_size_per_gpu": 16}


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A config whose constructor scales the weight decay by the number of ranks, and a model."""
    wrapper = {"type": "OptimWrapper", "constructor": "YOLOv5OptimizerConstructor", "optimizer": OPTIMIZER}
    (tmp_path / "yolo.json").write_text(json.dumps({"optim_wrapper": wrapper}))
    (tmp_path / "model.json").write_text(json.dumps(MODEL.to_dict()))
    return [str(tmp_path / "yolo.json"), "-m", str(tmp_path / "model.json")]


@pytest.mark.parametrize(("ranks", "decay"), [(None, 0.0005), ("8", 0.0005 * 2)])
def test_a_plan_is_made_for_the_number_of_ranks_that_is_given(
    ranks: str | None, decay: float, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    more = [] if ranks is None else ["--world-size", ranks]
    assert main(["plan", *arguments, "--json", *more]) == 0
    assert json.loads(capsys.readouterr().out)["params"][0]["options"]["weight_decay"] == decay
    assert main(["explain", *arguments, "head.weight", *more]) == 0
    assert f"{decay}" in capsys.readouterr().out


def test_a_number_of_ranks_below_one_is_an_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *arguments, "--world-size", "0"]) == 2
    assert "must be a whole number from 1, not 0" in capsys.readouterr().err
