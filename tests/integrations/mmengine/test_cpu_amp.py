"""Mixed precision on the CPU, accumulated and clipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper

from optimbuild.integrations.mmengine.cpu_amp import CpuAmpOptimWrapper
from tests.integrations.mmengine.project import adamw, same, stopped, trained

pytestmark = pytest.mark.skipif(get_device() != "cpu", reason="an accelerator has MMEngine's own wrapper")

AMP: dict[str, Any] = {
    "type": "AmpOptimWrapper",
    "dtype": "bfloat16",
    "accumulative_counts": 2,
    "clip_grad": {"max_norm": 1.0},
}


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16, None])
@pytest.mark.parametrize("kind", ["AmpOptimWrapper", "mmengine.AmpOptimWrapper", AmpOptimWrapper])
def test_mmengines_wrapper_becomes_one_that_runs_here(kind: Any, dtype: Any, tmp_path: Path) -> None:
    runner = trained(tmp_path, 1, adamw(type=kind, dtype=dtype))
    assert type(runner.optim_wrapper) is CpuAmpOptimWrapper
    assert isinstance(runner.optim_wrapper, AmpOptimWrapper)
    assert set(runner.model.seen) == {torch.bfloat16}


def test_it_trains_like_autocast_by_hand(tmp_path: Path) -> None:
    amp = trained(tmp_path / "amp", 3, adamw(**AMP)).model
    from mmengine.optim import OptimWrapper

    class ByHand(OptimWrapper):
        def optim_context(self, model: Any) -> Any:
            return torch.autocast("cpu", torch.bfloat16)

    options = {**AMP, "type": ByHand}
    del options["dtype"]
    assert same(amp, trained(tmp_path / "hand", 3, adamw(**options)).model)
    assert not same(amp, trained(tmp_path / "full", 3, adamw(**{**options, "type": "OptimWrapper"})).model)


def test_it_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", 4, adamw(**AMP))
    stopped(tmp_path / "parts", adamw(**AMP))
    assert same(whole.model, trained(tmp_path / "parts", 4, adamw(**AMP), resume=True).model)


def test_it_takes_a_checkpoint_with_the_loss_scale_of_an_accelerator(tmp_path: Path) -> None:
    stopped(tmp_path, adamw(**AMP))
    path = tmp_path / "epoch_2.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["optimizer"]["loss_scaler"] = torch.amp.GradScaler("cpu").state_dict()
    assert checkpoint["optimizer"]["loss_scaler"]["scale"] == 65536
    torch.save(checkpoint, path)
    assert trained(tmp_path, 4, adamw(**AMP), resume=True).iter == 8


def test_the_wrapper_itself_refuses_another_precision() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match="must be 'bfloat16', not 'float16'"):
        CpuAmpOptimWrapper(optimizer=optimizer, dtype="float16")
