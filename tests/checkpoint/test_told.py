"""A failed load says whose fault it is: the state's, a function's that the caller gave, or the machine's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from optimbuild import CheckpointError, MissingPackageError
from optimbuild.checkpoint import deepspeed_state, load_optimizer_state, optimizer_state
from optimbuild.checkpoint.told import told_as
from tests.checkpoint.training import built, resumed, trained


def broken(given: Any) -> Any:
    """Fail as a function of a user does."""
    return {}["key"]


def test_a_function_of_the_caller_that_raises_is_named_with_its_place() -> None:
    whole, optimizer = trained()
    _, fresh = resumed(whole)
    with pytest.raises(
        CheckpointError, match=r"^`rename` raised KeyError: 'key' for 'pos_embed' \(.*test_told\.py:\d+"
    ):
        load_optimizer_state(fresh, optimizer_state(optimizer), rename=broken)
    with pytest.raises(CheckpointError, match=r"^`names` raised KeyError: 'key' \(.*test_told\.py:\d+\)"):
        load_optimizer_state(fresh, torch.optim.SGD(whole.parameters()).state_dict(), names=broken)
    assert not fresh.state


def test_want_of_memory_is_not_blamed_on_the_state() -> None:
    class Heavy(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory") if key == "state" else MemoryError

    for key, error in (("state", torch.OutOfMemoryError), ("params", MemoryError)):
        with pytest.raises(error), told_as("this is no optimizer state"):
            Heavy()[key]


def test_damaged_state_is_said_to_be_damaged() -> None:
    with pytest.raises(CheckpointError, match=r"^this is no optimizer state: .*Nothing was loaded\.$"):
        load_optimizer_state(built()[1], {"state": {}, "param_groups": [3]})


def test_a_directory_without_latest_names_the_tags_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no file `latest`.*no folder in it is a checkpoint"):
        deepspeed_state(tmp_path)
    for tag in ("global_step1", "global_step2"):
        (tmp_path / tag).mkdir()
        (tmp_path / tag / "zero_pp_rank_0_mp_rank_00_optim_states.pt").touch()
    with pytest.raises(CheckpointError, match=r"no file `latest`.*Give the tag of one: global_step1, global_step2"):
        deepspeed_state(tmp_path)
    with pytest.raises(CheckpointError, match="missing: No such file or directory"):
        deepspeed_state(tmp_path, "missing")


def test_a_damaged_file_of_deepspeed_is_named(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    for name in ("zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt"):
        (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"zero_pp_rank_0_mp_rank_00_optim_states\.pt cannot be read: "):
        deepspeed_state(tmp_path.parent, tmp_path.name)


def test_a_checkpoint_of_deepspeed_without_deepspeed_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt"):
        (tmp_path / name).touch()
    monkeypatch.setitem(__import__("sys").modules, "deepspeed.runtime.fp16.loss_scaler", None)
    with pytest.raises(MissingPackageError, match="Install it: pip install deepspeed"):
        deepspeed_state(tmp_path.parent, tmp_path.name)
