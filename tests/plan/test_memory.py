"""Memory foreseen from a plan is what real ranks hold, to the byte."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from optimbuild import ConfigError, Inventory, ModelError, ParamInfo, Plan, build_optimizer, make_plan, optimizer
from optimbuild.cli import main
from optimbuild.plan.memory import size
from optimbuild.registry.optimizer_type import State
from tests.distributed import run
from tests.models import Net, Tied

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"type": "adamw", "lr": 1e-3},
    "adamw, amsgrad": {"type": "adamw", "lr": 1e-3, "amsgrad": True},
    "sgd": {"type": "sgd", "lr": 1e-3},
    "sgd without momentum": {"type": "sgd", "lr": 1e-3, "momentum": 0, "nesterov": False},
    "sgd_linear_probing": {"type": "sgd_linear_probing", "lr": 1e-3},
    "probed": {"type": "NAdam", "lr": 1e-3},
    "probed, factored": {"type": "test_factored", "lr": 1e-3},
    "probed, reads values": {"type": "ASGD", "lr": 1e-3},
}
RULES: list[dict[str, Any]] = [{"type": "layer_decay", "ratio": 0.5}, {"type": "freeze", "patterns": ["stem.0"]}]


def mixed() -> Net:
    model = Net(depth=2, width=16)
    model.head.to(torch.bfloat16)
    model.blocks[0].to(torch.float64)
    return model


def held(config: dict[str, Any], model: nn.Module) -> tuple[dict[str, int], dict[str, int]]:
    """Return what this rank holds after a step, and what was foreseen for it."""
    built = build_optimizer(config, model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    built.step()
    local = built.optim if config["zero"] else built
    assert set(local.state) <= {tensor for group in local.param_groups for tensor in group["params"]}
    foreseen = built.plan.memory(dist.get_world_size()).ranks[dist.get_rank()]
    states = [value for state in local.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    return (
        {
            "parameters": sum(parameter.nbytes for parameter in model.parameters()),
            "gradients": sum(p.grad.untyped_storage().nbytes() for p in model.parameters() if p.grad is not None),
            "state": sum(value.untyped_storage().nbytes() for value in states),
        },
        {"parameters": foreseen.parameters, "gradients": foreseen.gradients, "state": foreseen.state},
    )


def every_kind() -> dict[str, tuple[dict[str, int], dict[str, int]]]:
    optimizer("test_factored", "torch.optim:Adafactor", force=True)
    found = {}
    for zero in (True, False):
        for name, kind in OPTIMIZERS.items():
            config = {"optimizer": kind, "rules": RULES, "zero": zero}
            found[f"{name}, zero {zero}"] = held(config, Net(depth=2, width=16))
            if "probed" not in name:
                found[f"{name}, zero {zero}, mixed dtypes"] = held(config, mixed())
        found[f"shared tensors, zero {zero}"] = held({"optimizer": OPTIMIZERS["adamw"], "zero": zero}, Tied())
    return found


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_what_is_foreseen_is_what_each_rank_of_a_real_run_holds(world_size):
    ranks = run(world_size, every_kind)
    for rank in ranks:
        assert len(rank) == 28
        assert {case: real for case, (real, _) in rank.items()} == {case: told for case, (_, told) in rank.items()}
    whole, parts = ranks[0]["adamw, zero False"][0]["state"], [rank["adamw, zero True"][0]["state"] for rank in ranks]
    assert sum(parts) == whole
    assert max(parts) < whole


def under_fsdp2() -> tuple[dict[str, int], dict[str, int], str]:
    from torch.distributed.fsdp import fully_shard

    model = Net(depth=2, width=24)  # 24 rows fall evenly on 2, 3 and 4 ranks; those of the head do not on 3
    for block in model.blocks:
        fully_shard(block)
    fully_shard(model)
    built = build_optimizer({"optimizer": OPTIMIZERS["adamw"], "rules": RULES}, model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    built.step()

    def nbytes(tensors: Any) -> int:
        return sum(
            t.to_local().nbytes if isinstance(t, torch.distributed.tensor.DTensor) else t.nbytes for t in tensors
        )

    memory = built.plan.memory(dist.get_world_size())
    told = memory.ranks[dist.get_rank()]
    real = {
        "parameters": nbytes(model.parameters()),
        "gradients": nbytes(p.grad for p in model.parameters() if p.grad is not None),
        "state": nbytes(value for state in built.state.values() for value in state.values()),
    }
    return real, {"parameters": told.parameters, "gradients": told.gradients, "state": told.state}, str(memory)


@pytest.mark.parametrize("world_size", [2, 3])
def test_what_is_foreseen_for_a_model_under_fsdp2_is_what_its_ranks_hold(world_size):
    for real, told, text in run(world_size, under_fsdp2):
        assert real == told
        assert "parameters, gradients and optimizer state sharded by FSDP2" in text


def inventory(*shapes: tuple[int, ...], dtype: str = "float32") -> Inventory:
    return Inventory(tuple(ParamInfo(f"layer{i}.weight", shape, dtype) for i, shape in enumerate(shapes)))


def memory(config: dict[str, Any], model: Inventory, world_size: Any) -> Any:
    return make_plan({"optimizer": OPTIMIZERS["adamw"], **config}, model).memory(world_size=world_size)


def test_memory_is_shared_by_the_ranks_with_zero_and_repeated_without():
    shapes = [(16, 16)] * 5 + [(16,)] * 3
    sharded, whole = memory({"zero": True}, inventory(*shapes), 4), memory({}, inventory(*shapes), 4)
    assert (sharded.sharding, whole.sharding) == ("zero", None)
    assert sum(rank.share for rank in sharded.ranks) == pytest.approx(1.0)
    assert [rank.share for rank in whole.ranks] == [1.0] * 4
    assert sum(rank.state for rank in sharded.ranks) == whole.largest.state == whole.smallest.state
    assert sharded.largest.rank == 0
    assert sharded.largest.state - sharded.smallest.state <= 2 * 16 * 16 * 4 + 4


def test_more_ranks_than_tensors_leave_ranks_without_state():
    ranks = memory({"zero": True}, inventory((4, 4)), 3).ranks
    assert [rank.state for rank in ranks] == [2 * 64 + 4, 0, 0]
    assert {rank.parameters for rank in ranks} == {rank.gradients for rank in ranks} == {64}


@pytest.mark.parametrize(
    ("dtype", "bytes_each"),
    [("float64", 8), ("float32", 4), ("bfloat16", 2), ("float8_e4m3fn", 1), ("complex64", 8)],
)
def test_the_width_of_every_dtype_counts(dtype, bytes_each):
    assert memory({}, inventory((10, 10), dtype=dtype), 1).largest.parameters == 100 * bytes_each


def test_a_dtype_of_unknown_width_is_named():
    with pytest.raises(ModelError, match=r"'layer0.weight' has dtype 'posit'"):
        memory({"implementation": "foreach"}, inventory((2,), dtype="posit"), 1)


@pytest.mark.parametrize("world_size", [0, -1, 1.5, True, "8", None])
def test_a_world_size_that_is_no_whole_number_from_1_is_refused(world_size):
    with pytest.raises(ConfigError, match="world_size: must be a whole number from 1"):
        memory({}, inventory((2,)), world_size)


@pytest.mark.parametrize("world_size", [100_001, 99_999_999_999, 10**30])
def test_a_world_size_above_the_limit_is_refused_with_the_limit(world_size):
    with pytest.raises(ConfigError, match=rf"^world_size: must be at most 100000, not {world_size}$"):
        memory({}, inventory((2,)), world_size)


def test_at_the_limit_of_ranks_the_figures_still_add_up():
    model = inventory((7, 2), (1000, 4), (3,))
    zero = memory({"zero": True}, model, 100_000)
    assert sum(rank.share for rank in zero.ranks) == pytest.approx(1.0)
    fsdp2 = memory({}, replace(model, sharded=frozenset(param.name for param in model)), 100_000)
    assert sum(rank.parameters for rank in fsdp2.ranks) == zero.largest.parameters


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 50))
def test_shards_of_all_ranks_make_the_whole_parameter(rows, world_size):
    model = inventory(*[(count, 2) for count in rows])
    found = memory({}, replace(model, sharded=frozenset(param.name for param in model)), world_size)
    assert sum(rank.parameters for rank in found.ranks) == sum(rows) * 2 * 4
    held = [rank.parameters for rank in found.ranks]
    assert held == [
        sum(max(0, min(-(-n // world_size), n - rank * -(-n // world_size))) * 8 for n in rows)
        for rank in range(world_size)
    ]


class Needy(torch.optim.SGD):
    """An optimizer whose state nobody can foresee from outside: its step wants arguments."""

    def step(self, weather: str) -> None:  # type: ignore[override]
        raise NotImplementedError(weather)


def test_an_optimizer_that_takes_no_step_must_declare_its_state():
    optimizer("test_needy", Needy, force=True)
    with pytest.raises(ConfigError, match=r"the state of test_needy cannot be foreseen.*weather.*`state=`"):
        memory({"optimizer": {"type": "test_needy"}}, inventory((2, 2)), 1)
    optimizer("test_needy", Needy, state=lambda options: State(copies=3, scalars=2), force=True)
    assert memory({"optimizer": {"type": "test_needy"}}, inventory((2, 2)), 1).largest.state == 3 * 16 + 2 * 4


class Tuned(torch.optim.SGD):
    """Has options of every form of plain data; where `slots` is a whole number, it keeps so many numbers."""

    def __init__(self, params: Any, lr: float = 0.1, slots: float = 1, tuning: Any = None) -> None:
        super().__init__(params, lr=lr)
        self.slots = slots

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["slots"] = torch.zeros(self.slots if isinstance(self.slots, int) else 7)


def test_options_of_any_plain_form_are_probed_and_equal_ones_kept_apart():
    optimizer("test_tuned", Tuned, force=True)
    for slots, numbers in ((1, 1), (1.0, 7), (1, 1)):
        for tuning in ({"a": [1, 2]}, [1], "text"):
            config = {"optimizer": {"type": "test_tuned", "slots": slots, "tuning": tuning}}
            assert memory(config, inventory((2, 2)), 1).largest.state == 4 * numbers


def test_it_reads_as_a_table_and_as_json():
    found = memory({"zero": True}, inventory((512, 512), (512, 512), (512,)), 2)
    assert str(found).splitlines() == [
        "memory       of each of 2 ranks; optimizer state sharded by ZeRO stage 1",
        "parameters   2.0 MiB",
        "gradients    2.0 MiB",
        "state        2.0 MiB; rank 0 holds 50.05% of it (most), rank 1 holds 49.95% of it (least)",
        "together     6.0 MiB",
    ]
    data = found.to_dict()
    assert data["world_size"] == 2
    assert data["ranks"][0]["total"] == found.largest.total
    assert (data["largest"], data["smallest"]) == (0, 1)
    assert "state        252 B to 260 B; rank 0" in str(memory({"zero": True}, inventory((32,), (31,)), 2))
    assert "not sharded: every rank keeps all of it" in str(memory({}, inventory((2,)), 2))
    assert str(memory({}, inventory((2,)), 1)).startswith("memory       of each of 1 rank;")


def test_bytes_are_written_for_people():
    assert [size(count) for count in (0, 1023, 1024, 5 * 1024**2, 3 * 1024**3, 2**50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 GiB",
        "1024.0 TiB",
    ]


@pytest.fixture
def files(tmp_path) -> list[str]:
    """A config and an inventory, as the command line takes them."""
    (tmp_path / "config.json").write_text(json.dumps({"optimizer": OPTIMIZERS["adamw"], "zero": True}))
    (tmp_path / "model.json").write_text(json.dumps(inventory((8, 8), (8,)).to_dict()))
    return [str(tmp_path / "config.json"), "--model", str(tmp_path / "model.json")]


def test_the_command_line_shows_it_for_a_world_size_and_imports_no_torch(files):
    script = "import sys; from optimbuild.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", script, "plan", *files, "--world-size", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    *_, together, torch_imported = done.stdout.splitlines()
    assert "memory       of each of 8 ranks; optimizer state sharded by ZeRO stage 1" in done.stdout
    assert together.startswith("together ")
    assert torch_imported == "False"


def test_the_command_line_adds_it_to_a_plan_as_json_that_is_still_a_plan(files, capsys):
    assert main(["plan", *files, "--world-size", "8", "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["memory"] == Plan.from_json(text).memory(8).to_dict()


def test_the_command_line_refuses_an_impossible_world_size(files, capsys):
    assert main(["plan", *files, "--world-size", "0"]) == 2
    assert "must be a whole number from 1, not 0" in capsys.readouterr().err
