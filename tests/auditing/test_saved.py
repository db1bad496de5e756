"""Checkpoints of torch, Trainer, Lightning, MMEngine, DCP and ours are audited as the live optimizer is."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import CheckpointError, Plan, audit, build_optimizer, checkpoint, inventory
from optimbuild.auditing.audit import Audit, audit_of
from optimbuild.auditing.saved import found_saved
from optimbuild.auditing.saved_kinds import TELLING
from optimbuild.cli import main
from tests.auditing.planted import Made, adamw
from tests.models import CONFIG, Net


def stepped(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    for param in model.parameters():
        param.grad = torch.ones_like(param) if param.requires_grad else None
    optimizer.step()


def ours() -> Made:
    model = Net()
    optimizer = build_optimizer(CONFIG, model)
    stepped(optimizer, model)
    return optimizer, model


def theirs() -> Made:
    model = Net()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = adamw([{"params": matrices, "weight_decay": 0.05}, {"params": others}])
    stepped(optimizer, model)
    return optimizer, model


def plain_file(optimizer: Any, model: nn.Module, to: Path) -> Path:
    torch.save(optimizer.state_dict(), to / "optimizer.pth")
    return to / "optimizer.pth"


def inside_a_file(optimizer: Any, model: nn.Module, to: Path) -> Path:
    torch.save({"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, to / "last.pt")
    return to / "last.pt"


def trainers_folder(optimizer: Any, model: nn.Module, to: Path) -> Path:
    (to / "checkpoint-4").mkdir()
    torch.save(optimizer.state_dict(), to / "checkpoint-4" / "optimizer.pt")
    return to / "checkpoint-4"


def lightning_file(optimizer: Any, model: nn.Module, to: Path) -> Path:
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.net(batch).sum()

        def configure_optimizers(self) -> Any:
            return optimizer

    quiet = dict.fromkeys(["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"], False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(max_steps=1, accelerator="cpu", default_root_dir=str(to), **quiet)
        trainer.fit(Module(), torch.utils.data.DataLoader(torch.randn(4, 8), batch_size=4))
        trainer.save_checkpoint(to / "last.ckpt")
    return to / "last.ckpt"


def mmengine_file(optimizer: Any, model: nn.Module, to: Path) -> Path:
    from mmengine.logging import MessageHub
    from mmengine.optim import OptimWrapper

    hub = MessageHub("audit")
    hub.update_scalar("train/loss", 0.5)
    saved = {
        "meta": {"epoch": 1, "dataset_meta": {"classes": ("a", "b")}},
        "state_dict": model.state_dict(),
        "message_hub": hub.state_dict(),
        "optimizer": OptimWrapper(optimizer).state_dict(),
        "param_schedulers": [],
    }
    torch.save(saved, to / "epoch_1.pth")
    return to / "epoch_1.pth"


def dcp_folder(optimizer: Any, model: nn.Module, to: Path, flatten: bool = False) -> Path:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

    options = StateDictOptions(flatten_optimizer_state_dict=flatten)
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer, options=options)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=to / "dcp")
    return to / "dcp"


def flat_dcp_folder(optimizer: Any, model: nn.Module, to: Path) -> Path:
    return dcp_folder(optimizer, model, to, flatten=True)


def our_folder(optimizer: Any, model: nn.Module, to: Path) -> Path:
    for group, names in zip(optimizer.param_groups, checkpoint.names_of(optimizer, model), strict=True):
        group["param_names"] = names
    checkpoint.save(optimizer, to / "ours")
    return to / "ours"


def our_state(optimizer: Any, model: nn.Module, to: Path) -> Path:
    for group, names in zip(optimizer.param_groups, checkpoint.names_of(optimizer, model), strict=True):
        group["param_names"] = names
    torch.save(checkpoint.optimizer_state(optimizer), to / "state.pt")
    return to / "state.pt"


SAVES: list[Callable[..., Path]] = [
    plain_file, inside_a_file, trainers_folder, lightning_file, mmengine_file, dcp_folder, flat_dcp_folder, our_folder,
    our_state,
]  # fmt: skip


def read(path: Path, model: Any, **more: Any) -> Audit:
    return audit_of(found_saved(path, inventory(model) if isinstance(model, nn.Module) else model, **more))


@pytest.mark.parametrize("make", [ours, theirs])
@pytest.mark.parametrize("save", SAVES)
def test_a_checkpoint_amounts_to_the_plan_of_its_optimizer(save: Any, make: Any, tmp_path: Path) -> None:
    optimizer, model = make()
    path = save(optimizer, model, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if save is lightning_file and make is theirs:
        whole = nn.Module()
        whole.net = model
        model = whole
    live, found = audit(optimizer, model), read(path, model)
    assert str(live.plan.diff(found.plan)) == "no difference"
    unknown = {"first-group-is-deepest"} if make is ours else set()  # a file does not say that it is ours
    assert {each.id for each in found.findings} == {each.id for each in live.findings} | unknown
    assert sorted(tmp_path.rglob("*")) == before


def test_the_class_of_a_saved_group_is_told_by_its_options(tmp_path: Path) -> None:
    model = nn.Linear(4, 4)
    made = {
        "sgd": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
        "torch.Adam": torch.optim.Adam(model.parameters()),
        "torch.RMSprop": torch.optim.RMSprop(model.parameters()),
        "torch.Adadelta": torch.optim.Adadelta(model.parameters()),
    }
    for name, optimizer in made.items():
        if name == "torch.Adam" and TELLING not in optimizer.defaults:
            continue  # before torch 2.7 Adam and AdamW have the same options
        found = read(plain_file(optimizer, model, tmp_path), model)
        assert {d.optimizer for d in found.plan} == {name}
        assert found.plan.diff(audit(optimizer, model).plan).changed == {}
        assert f"taken for {name} by its options" in found.plan.notes[0]
    told = read(plain_file(made["torch.Adam"], model, tmp_path), model, optimizer="adamw")
    assert {d.optimizer for d in told.plan} == {"adamw"}


def test_faults_in_a_file_are_found(tmp_path: Path) -> None:
    optimizer, model = theirs()
    state = optimizer.state_dict()
    state["param_groups"][0]["momentun"] = 0.9
    state["param_groups"][1]["weight_decay"] = 0.1
    state["state"][0]["exp_avg"] = state["state"][0]["exp_avg"].double()
    state["param_groups"][0]["lr"] = 0.0
    for group, names in zip(state["param_groups"], checkpoint.names_of(optimizer, model), strict=True):
        group["param_names"] = names
    torch.save(state, tmp_path / "faulty.pt")
    found = [finding.id for finding in read(tmp_path / "faulty.pt", model).findings]
    expected = ["decay-on-norm", "decay-on-bias", "decay-on-gain", "lr-zero", "unread-option", "state-does-not-fit"]
    assert found == expected


def test_state_of_another_model_or_of_none_is_refused(tmp_path: Path) -> None:
    optimizer, model = theirs()
    path = plain_file(optimizer, model, tmp_path)
    with pytest.raises(CheckpointError, match="nothing says which state belongs to which parameter"):
        read(path, nn.Linear(3, 3))
    torch.save({"model": model.state_dict()}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="holds no optimizer's state"):
        read(tmp_path / "weights.pt", model)
    with pytest.raises(CheckpointError, match="no such file or folder"):
        read(tmp_path / "nothing.pt", model)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"no optimizer's state is here. Looked for optimbuild.json"):
        read(tmp_path / "folder", model)


class Evil:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit",)


def test_a_file_that_runs_code_is_not_unpickled(tmp_path: Path) -> None:
    optimizer, model = theirs()
    torch.save({"optimizer": optimizer.state_dict(), "args": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match=r"could run any code: .*exec.*--trust reads it all the same"):
        read(tmp_path / "evil.pt", model)


class Arguments:
    """What a trainer may keep beside the state."""

    lr = 0.1


def test_a_file_with_other_objects_is_read_where_it_is_trusted(tmp_path: Path) -> None:
    optimizer, model = theirs()
    torch.save({"optimizer": optimizer.state_dict(), "args": Arguments()}, tmp_path / "args.pt")
    with pytest.raises(CheckpointError, match=r"could run any code: .*Arguments"):
        read(tmp_path / "args.pt", model)
    assert len(read(tmp_path / "args.pt", model, trust=True).plan.groups) == 2


def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, model = ours()
    monkeypatch.chdir(tmp_path)
    inside_a_file(optimizer, model, tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(inventory(model).to_dict()))
    (tmp_path / "own.json").write_text(json.dumps(CONFIG))
    (tmp_path / "other.json").write_text(json.dumps({**CONFIG, "rules": CONFIG["rules"][:1]}))


def test_the_command_prints_plan_and_findings_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_folder(tmp_path, monkeypatch)
    assert main(["audit", "last.pt", "-m", "model.json"]) == 0
    printed = capsys.readouterr().out
    assert "first-group-is-deepest" in printed
    assert "blocks.{0..2}.{mlp.{0..2},attn}.weight" in printed
    assert main(["audit", "last.pt", "-m", "model.json", "--against", "own.json"]) == 0
    assert "no difference: every parameter gets the same" in capsys.readouterr().out
    assert main(["audit", "last.pt", "-m", "model.json", "--against", "other.json"]) == 1
    assert re.search(r"lr +1.00e-03 +6.25e-05 +5 ", capsys.readouterr().out)
    assert (
        main(["audit", "last.pt", "-m", "model.json", "--against", "own.json", "--set", "optimizer.lr=1", "--json"])
        == 1
    )
    data = json.loads(capsys.readouterr().out)
    assert set(data) == {"plan", "findings", "diff"}
    assert Plan.from_json(json.dumps(data["plan"])).fingerprint == data["plan"]["fingerprint"]
    assert main(["audit", "last.pt", "-m", "model.json", "--ignore", "decay-on-nrom"]) == 2
    assert "Did you mean 'decay-on-norm'" in capsys.readouterr().err
    assert main(["audit", "missing.pt", "-m", "model.json"]) == 2


def test_the_command_infer_writes_a_config_with_that_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_folder(tmp_path, monkeypatch)
    assert main(["infer", "last.pt", "-m", "model.json", "-o", "found.yaml"]) == 0
    assert capsys.readouterr().err == "Wrote: found.yaml\n"
    assert main(["diff", "found.yaml", "own.json", "-m", "model.json"]) == 0
    assert main(["infer", "last.pt", "-m", "model.json", "-o", "found.yaml"]) == 2
    assert "File exists" in capsys.readouterr().err
    assert main(["infer", "last.pt", "-m", "model.json"]) == 0
    assert capsys.readouterr().out == Path("found.yaml").read_text()


def test_what_torch_did_not_write_is_no_reason_to_trust_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.json").write_text(json.dumps(inventory(Net()).to_dict()))
    for content in (b"optimizer: {type: adamw}\n", bytes(20), b"", b"hello\n" * 9, b"0" * 9):
        (tmp_path / "last.pt").write_bytes(content)
        assert main(["audit", str(tmp_path / "last.pt"), "-m", str(tmp_path / "model.json")]) == 2
        told = capsys.readouterr().err
        assert "is no file that torch wrote, or it is damaged" in told
        assert "--trust" not in told


def test_options_about_another_config_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "last.pt", "-m", "model.json", "--set", "optimizer.lr=1"]) == 2
    assert "--set is about the config of --against, which is not given" in capsys.readouterr().err


def test_groups_without_names_get_advice_that_the_command_can_take(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.json").write_text(json.dumps(inventory(Net()).to_dict()))
    params = list(Net().parameters())
    torch.save(
        torch.optim.SGD([{"params": params[::2]}, {"params": params[1::2]}], lr=0.1).state_dict(), tmp_path / "x.pt"
    )
    assert main(["audit", str(tmp_path / "x.pt"), "-m", str(tmp_path / "model.json")]) == 2
    told = capsys.readouterr().err
    assert "nothing says which state belongs to which parameter" in told
    assert "or audit the live optimizer: optimbuild.audit(optimizer, model)" in told
    assert "load_optimizer_state" not in told


class Gan(nn.Module):
    """Two networks, each with an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
        self.critic = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))


def saved_gan(to: Path, model: nn.Module, *parts: nn.Module) -> Path:
    """Write a checkpoint of two optimizers without names, as Lightning does."""
    made = [adamw([{"params": list(part.parameters()), "lr": 0.1 * (i + 1)}]) for i, part in enumerate(parts)]
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    for optimizer in made:
        optimizer.step()
    torch.save({"optimizer_states": [optimizer.state_dict() for optimizer in made]}, to / "gan.ckpt")
    return to / "gan.ckpt"


@pytest.mark.parametrize("first", ["generator", "critic"])
def test_two_optimizers_without_names_are_told_by_their_state(first: str, tmp_path: Path) -> None:
    model = Gan()
    second = "critic" if first == "generator" else "generator"
    found = read(saved_gan(tmp_path, model, getattr(model, first), getattr(model, second)), model)
    assert {name.partition(".")[0]: found.plan[name].lr for name in found.plan.inventory.names} == {
        first: 0.1,
        second: 0.2,
    }
    assert "unnamed, with state that fits the modules of one optimizer only" in found.plan.notes[0]
    assert "parameter-in-no-group" not in [finding.id for finding in found.findings]


def test_two_optimizers_whose_state_fits_both_ways_are_an_error(tmp_path: Path) -> None:
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    with pytest.raises(CheckpointError, match="nothing says which state belongs to which parameter"):
        read(saved_gan(tmp_path, model, *model), model)
    across = Gan()
    mixed = [nn.ModuleList([across.generator[i], across.critic[i]]) for i in range(2)]
    with pytest.raises(CheckpointError, match="nothing says which state belongs to which parameter"):
        read(saved_gan(tmp_path, across, *mixed), across)


def test_a_finding_that_is_ignored_is_left_out_of_all_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    in_a_folder(tmp_path, monkeypatch)
    audit_it = ["audit", "last.pt", "-m", "model.json"]
    assert main([*audit_it, "--json"]) == 0
    ids = [finding["id"] for finding in json.loads(capsys.readouterr().out)["findings"]]
    assert ids
    ignored = [word for id_ in ids for word in ("--ignore", id_)]
    assert main([*audit_it, "--json", *ignored]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []
    assert main([*audit_it, *ignored]) == 0
    assert capsys.readouterr().out.endswith("\nno finding\n")
