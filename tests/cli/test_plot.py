"""The command that draws a plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optimbuild.cli import main
from optimbuild.cli.commands.plot import SCHEDULES
from optimbuild.plot.schedules import NAMES

MODEL = {"model": "Tiny", "params": [{"name": "fc.weight", "shape": [4, 4]}, {"name": "fc.bias", "shape": [4]}]}


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "own.yaml").write_text("optimizer: {type: sgd, lr: 0.1}\n")
    (tmp_path / "model.json").write_text(json.dumps(MODEL))
    return ["plot", str(tmp_path / "own.yaml"), "-m", str(tmp_path / "model.json")]


def test_a_plot_is_written_and_told(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lr.svg"
    assert main([*arguments, "-o", str(path), "--schedule", "cosine", "--steps", "4"]) == 0
    assert capsys.readouterr() == ("", f"Wrote: {path}\n")
    assert all(text in path.read_text("utf-8") for text in ("Tiny: sgd", "1 group, plan "))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "optimbuild plot needs --output. Where to draw: *.svg, *.png or *.pdf."),
        (["-o", "lr.gif"], "'lr.gif' is none of *.svg, *.png and *.pdf"),
        (["-o", "lr.svg", "--steps", "4"], "say which one with --schedule"),
        (["-o", "lr.svg", "--schedule", "cosine"], "--schedule cosine needs its length: --steps N"),
        (["-o", "lr.svg", "--schedule", "cosin", "--steps", "4"], "Did you mean 'cosine'"),
        (["-o", "lr.svg", "--schedule", "cosine", "--steps", "1"], "--steps must be a whole number from 2"),
        (["-o", "lr.svg", "--schedule", "config", "--steps", "4"], "one of MMEngine with `param_scheduler`"),
    ],
)
def test_what_cannot_be_drawn_is_one_message(
    arguments: list[str], more: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, *more]) == 2
    assert words in capsys.readouterr().err


def test_the_command_offers_every_schedule() -> None:
    assert SCHEDULES == NAMES
