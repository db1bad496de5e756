"""Marks: what makers of models wrote on tensors about their optimization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optimbuild import ConfigError, Inventory, inventory, make_plan
from optimbuild.model.marks import marks_of


def marked(**marks: object) -> nn.Linear:
    model = nn.Linear(2, 2)
    for name, value in marks.items():
        setattr(model.weight, name, value)
    return model


@pytest.mark.parametrize(
    "marks",
    [
        {"_no_weight_decay": True},
        {"_optim": {"lr": 1e-3, "weight_decay": 0.0}},
        {"lr_mul": 0.1, "wd_mul": 2},
        {"lr_scale": 0.5},
        {"no_weight_decay": True},
        {"weight_decay": 0.1},
    ],
)
def test_attributes_about_optimization_are_marks(marks: dict[str, object]) -> None:
    found = inventory(marked(**marks))
    assert found["weight"].marks == marks
    assert found["bias"].marks == {}


@pytest.mark.parametrize(
    "attributes",
    [
        {"_is_hf_initialized": True},
        {"tensor_model_parallel": True, "partition_dim": 0},
        {"_no_reinit": True},
        {"slrx": 1},
        {"_in_backward_optimizers": [torch.nn.Linear(1, 1)]},
    ],
)
def test_what_a_library_notes_for_itself_is_no_mark(attributes: dict[str, object]) -> None:
    assert marks_of(marked(**attributes).weight) == {}


def test_an_inventory_file_keeps_marks() -> None:
    found = inventory(marked(_no_weight_decay=True, _optim={"lr": 0.5}))
    assert Inventory.from_dict(found.to_dict()) == found


def test_single_numbers_of_tensors_and_arrays_are_marks_as_well() -> None:
    model = marked(_optim={"lr": torch.tensor(0.5), "weight_decay": np.float32(0.25)}, _no_weight_decay=np.True_)
    assert inventory(model)["weight"].marks == {"_optim": {"lr": 0.5, "weight_decay": 0.25}, "_no_weight_decay": True}


def test_numbers_anywhere_in_a_mark_are_read() -> None:
    model = marked(_optim={"betas": (torch.tensor(0.5), np.float64(0.25)), "lr": [torch.tensor([2.0])]})
    assert inventory(model)["weight"].marks == {"_optim": {"betas": (0.5, 0.25), "lr": (2.0,)}}


def _itself(container: Any) -> Any:
    container["a"] = container["b"] = container
    return container


class Broken:
    """What raises wherever it is touched."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


UNREADABLE = {
    "a tensor without numbers": {"lr": torch.tensor(0.5, device="meta")},
    "many numbers": {"lr": torch.zeros(3)},
    "a mapping inside itself": _itself({}),
    "a broken object": {"lr": Broken()},
    "no finite number": {"lr": torch.tensor(float("nan"))},
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_mark_that_cannot_be_read_is_told_by_its_reader_alone(name: str) -> None:
    model = marked(_optim=UNREADABLE[name], lr_mul=UNREADABLE[name])
    found = inventory(model)["weight"].marks
    assert list(found) == ["_optim"]
    config: dict[str, Any] = {"optimizer": {"type": "adamw", "lr": 1.0}}
    assert make_plan(config, model).notes == ("no rule reads the mark _optim on weight (`{type: marks}` does)",)
    with pytest.raises(
        ConfigError, match=r"weight is marked with _optim = \{.*, which is no mapping of options to plain"
    ):
        make_plan({**config, "rules": [{"type": "marks"}]}, model)


def test_a_conventional_mark_that_is_no_plain_data_is_not_lost() -> None:
    found = inventory(marked(_optim=[object()]))["weight"].marks["_optim"]
    assert isinstance(found, str)
