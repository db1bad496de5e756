"""The command that audits a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from optimbuild import inventory
from optimbuild.cli import main

GAN = """
optim_wrapper:
  generator: {optimizer: {type: adamw, lr: 0.1, weight_decay: 0}}
  critic: {optimizer: {type: adamw, lr: 0.2, weight_decay: 0}}
"""


def test_the_optimizer_of_one_module_is_compared_with_its_own_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = torch.nn.ModuleDict({"generator": torch.nn.Linear(3, 2), "critic": torch.nn.Linear(2, 1)})
    Path("gan.yaml").write_text(GAN)
    Path("model.json").write_text(json.dumps(inventory(model).to_dict()))
    optimizer = torch.optim.AdamW(model["critic"].parameters(), lr=0.2, weight_decay=0)
    model["critic"](torch.ones(2)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), "critic.pth")
    compared = ["audit", "critic.pth", "-m", "model.json", "--against", "gan.yaml", "--optimizer"]
    assert main([*compared, "critic"]) == 0
    assert "no difference: every parameter gets the same (2 tensors)" in capsys.readouterr().out
    assert main([*compared, "generator"]) == 1
    assert "state-does-not-fit" in capsys.readouterr().out


@pytest.mark.parametrize("lr", [float("nan"), float("inf"), 10**400, "x"], ids=lambda lr: str(lr)[:5])
def test_an_lr_that_is_no_finite_number_is_audited(
    lr: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(3, 2)
    Path("model.json").write_text(json.dumps(inventory(model).to_dict()))
    state = torch.optim.AdamW(model.parameters()).state_dict()
    state["param_groups"][0]["lr"] = lr
    torch.save(state, "diverged.pth")
    assert main(["audit", "diverged.pth", "-m", "model.json", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(lr, str) or "impossible-lr" in [finding["id"] for finding in found["findings"]]
    main(["infer", "diverged.pth", "-m", "model.json"])
    assert "Traceback" not in capsys.readouterr().err
