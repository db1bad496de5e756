"""The command that checks plans in CI."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from optimbuild import Inventory, ParamInfo, make_plan
from optimbuild.cli import main
from optimbuild.lockfile.lock_file import LockFile, no_other_update, read_lock, write_lock

MODEL = Inventory(
    [ParamInfo(f"blocks.{i}.{leaf}", (4,) * d) for i in range(3) for d, leaf in ((2, "weight"), (1, "bias"))]
)
CONFIG = "optimizer: {type: adamw, lr: 0.001, weight_decay: 0.05}\nrules:\n  - {type: no_decay}\n"
WARNS = "  - {type: match, table: {nothing: {lr_mult: 2}}}\nstrict: false\n"
ADD = ["check", "a.yaml", "-m", "m.json", "--update"]

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with two configs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.json").write_text(json.dumps(MODEL.to_dict()))
    (tmp_path / "a.yaml").write_text(CONFIG)
    (tmp_path / "b.yaml").write_text(CONFIG.replace("0.001", "0.002"))
    return tmp_path


@pytest.fixture
def locked(here: Path, capsys: Capture) -> Path:
    """The lock file of both."""
    for name in ("a.yaml", "b.yaml"):
        assert main(["check", name, "-m", "m.json", "--update"]) == 0
    capsys.readouterr()
    return here / "plans.lock"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def fingerprint(name: str = "a.yaml") -> str:
    return make_plan(name, "m.json").fingerprint


def test_a_good_config_is_one_line(capsys: Capture, here: Path) -> None:
    assert main(["check", "a.yaml", "-m", "m.json"]) == 0
    assert capsys.readouterr() == (f"1 plan without a problem ({fingerprint()[:12]})\n", "")
    assert not (here / "plans.lock").exists()


def test_a_link_to_a_lock_file_that_is_not_yet_is_followed(here: Path, capsys: Capture) -> None:
    (here / "plans.lock").symlink_to("shared.lock")
    for _ in range(2):
        assert main(ADD) == 0
    assert (here / "plans.lock").is_symlink()
    assert "a.yaml" in (here / "shared.lock").read_text()


def test_a_good_lock_file_is_one_line(locked: Path, capsys: Capture) -> None:
    assert main(["check"]) == 0
    assert capsys.readouterr() == ("2 plans without a problem\n", "")


@pytest.mark.parametrize(
    ("old", "new", "id_"),
    [
        ("  - {type: no_decay}\n", f"  - {{type: no_decay}}\n{WARNS}", "warning"),
        ("rules:\n  - {type: no_decay}\n", "", "decay-on-bias"),
        ("lr: 0.001", "lr: 0", "lr-zero"),
    ],
)
def test_a_warning_or_a_finding_fails_until_it_is_ignored(old: str, new: str, id_: str, capsys: Capture, here: Path):
    edit(here / "a.yaml", old, new)
    assert main(["check", "a.yaml", "-m", "m.json"]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"a.yaml -m m.json\n  {id_}  ")
    assert out.endswith("\n1 of 1 plan with a problem\n")
    assert main(["check", "a.yaml", "-m", "m.json", "--ignore", id_]) == 0
    assert main([*ADD, "--ignore", id_]) == 0
    assert f"  ignore:\n  - {id_}\n" in (here / "plans.lock").read_text()
    assert main(["check"]) == 0
    assert main(ADD) == 0  # what an entry ignores stays ignored


WARNING_MODEL = """
from torch import nn
from optimbuild.messages import warn
def build():
    warn("this model is not what it was")
    return nn.Linear(2, 2, bias=False)
"""


def test_a_warning_about_the_model_fails_each_config_that_has_it(here: Path, capsys: Capture) -> None:
    (here / "model_that_warns.py").write_text(WARNING_MODEL)
    for name in ("a.yaml", "b.yaml"):
        edit(here / name, "rules:\n  - {type: no_decay}\n", "")
        assert main(["check", name, "-m", "model_that_warns:build", "--update"]) == 1
    capsys.readouterr()
    assert main(["check"]) == 1
    out, err = capsys.readouterr()
    assert out.count("  warning  this model is not what it was\n") == 2
    assert err == ""


MODEL_DURING_WHOSE_BUILD_ANOTHER_UPDATE_RUNS = """
from torch import nn
from optimbuild.cli import main
def build():
    assert main(["check", "b.yaml", "-m", "m.json", "--update"]) == 0
    return nn.Linear(2, 2, bias=False)
"""


def test_two_updates_at_the_same_time_lose_no_entry(here: Path, capsys: Capture) -> None:
    (here / "slow_model.py").write_text(MODEL_DURING_WHOSE_BUILD_ANOTHER_UPDATE_RUNS)
    (here / "c.yaml").write_text(CONFIG.partition("rules")[0])
    assert main(["check", "c.yaml", "-m", "slow_model:build", "--update"]) == 0
    assert [line for line in (here / "plans.lock").read_text().splitlines() if line.startswith("- config")] == [
        "- config: b.yaml",
        "- config: c.yaml",
    ]


def test_an_update_waits_for_another_that_is_writing(locked: Path, here: Path) -> None:
    (here / "c.yaml").write_text(CONFIG)
    with no_other_update("plans.lock"):
        lock = read_lock("plans.lock")
        code = "from optimbuild.cli import main; main(['check', 'c.yaml', '-m', 'm.json', '--update'])"
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert other.stdout is not None
        other.stdout.readline()  # its plan is made
        with suppress(subprocess.TimeoutExpired):
            other.wait(0.5)
        write_lock("plans.lock", LockFile(lock.entries[:1]))
    other.communicate(timeout=60)
    assert [entry.target.config for entry in read_lock("plans.lock").entries] == ["a.yaml", "c.yaml"]


def test_an_expected_fingerprint_is_compared(capsys: Capture) -> None:
    one = ["check", "a.yaml", "-m", "m.json", "--expect"]
    assert main([*one, fingerprint()]) == main([*one, fingerprint()[:12]]) == 0
    assert main([*one, "0" * 12]) == 1
    assert f"unexpected  {'0' * 12} is expected, and the plan is {fingerprint()[:12]}" in capsys.readouterr().out


def test_a_changed_config_fails_and_shows_what_changes(locked: Path, capsys: Capture, here: Path) -> None:
    before = locked.read_text()
    old = fingerprint("b.yaml")[:12]
    edit(here / "b.yaml", "0.002", "0.003")
    new = fingerprint("b.yaml")[:12]
    for arguments in (["check"], ["check", "b.yaml", "-m", "./m.json"]):
        assert main(arguments) == 1
        assert capsys.readouterr().out.splitlines()[:8] == [
            "b.yaml -m m.json",
            f"  changed  plans.lock has {old}, and the plan is {new}",
            "     blocks.{0..2}.weight",
            "    -  lr 0.002, weight_decay 0.05; 3 tensors, 48 elements",
            "    +  lr 0.003, weight_decay 0.05; 3 tensors, 48 elements",
            "     blocks.{0..2}.bias",
            "    -  lr 0.002, weight_decay 0.0; 3 tensors, 12 elements",
            "    +  lr 0.003, weight_decay 0.0; 3 tensors, 12 elements",
        ]
    assert locked.read_text() == before
    assert main(["check", "a.yaml", "-m", "m.json"]) == 0
    assert main(["check", "--update"]) == 0
    assert capsys.readouterr().err == "Wrote: plans.lock: 2 plans\n"
    changed = [line for line in locked.read_text().splitlines() if line not in before]
    assert [line.split()[0] for line in changed] == ["fingerprint:", "lr", "lr"]
    assert main(["check"]) == 0
    assert main(["check", "--update"]) == 0
    assert capsys.readouterr().err == "Unchanged: plans.lock: 2 plans\n"


def test_a_plan_that_the_lock_file_does_not_have_is_told(locked: Path, capsys: Capture) -> None:
    misspelt = ["check", "a.yaml", "-m", "m.json", "--set", "optimizer.lr=0.01"]
    assert main(misspelt) == 0
    assert "optimizer.lr=0.01\n  new: there is no entry to compare it with\n\n1 plan " in capsys.readouterr().out
    assert main([*misspelt, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plans"][0]["new"]
    assert main([*misspelt, "--expect", "0" * 12]) == 1
    assert "new" not in capsys.readouterr().out


def test_lines_that_were_edited_under_a_fingerprint_are_told(locked: Path, capsys: Capture) -> None:
    edit(locked, "lr 0.002, weight_decay 0.05", "lr 0.001, weight_decay 0.05")
    assert main(["check"]) == 1
    assert "has this plan's fingerprint, and other lines: edited by hand?" in " ".join(capsys.readouterr().out.split())


def test_another_version_is_named_where_plans_differ(locked: Path, capsys: Capture, here: Path) -> None:
    locked.write_text(re.sub("optimbuild: .*", "optimbuild: 0.1.7", locked.read_text()))
    edit(locked, "lr 0.002, weight_decay 0.05; 3", "lr=0.002 weight_decay=0.05 of 3")
    assert main(["check"]) == 0  # that version may tell the same plan in other lines
    edit(here / "b.yaml", "0.002", "0.003")
    assert main(["check"]) == 1
    assert "optimbuild 0.1.7 wrote it, and this is " in " ".join(capsys.readouterr().out.split())


def test_lines_of_another_version_are_not_held_against_anybody(locked: Path, capsys: Capture) -> None:
    locked.write_text(re.sub("optimbuild: .*", "optimbuild: 0.1.7", locked.read_text()))
    edit(locked, "lr 0.002, weight_decay 0.05; 3", "lr=0.002 weight_decay=0.05 of 3")
    assert main(ADD) == 0
    assert main(["check"]) == 0  # the other entry is still of that version
    assert main(["check", "--update"]) == 0
    edit(locked, "lr 0.002, weight_decay 0.05; 3", "lr=0.002 weight_decay=0.05 of 3")
    assert main(["check"]) == 1


def test_an_entry_that_cannot_be_planned_does_not_hide_others(locked: Path, capsys: Capture, here: Path) -> None:
    (here / "a.yaml").unlink()
    edit(here / "b.yaml", "no_decay", "no_decoy")
    before = locked.read_bytes()
    assert main(["check"]) == 2
    out = capsys.readouterr().out
    assert "a.yaml -m m.json\n  error  a.yaml: No such file or directory\n" in out
    assert "b.yaml -m m.json\n  error  rules[0].type: " in out
    assert main(["check", "--update"]) == 2
    assert "Error: plans.lock is as it was: mend what has an error" in capsys.readouterr().err
    assert locked.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "there is no lock file 'plans.lock'. `optimbuild check CONFIG --model MODEL --update` writes one"),
        (["--lock", "other.lock"], "there is no lock file 'other.lock'. `optimbuild"),
        (["-m", "m.json"], "--model is about CONFIG, which is not given"),
        (["--set", "a=b"], "--set is about CONFIG"),
        (["a.yaml", "-m", "m.json", "--expect", "xyz"], "--expect takes a fingerprint, or its first 12 characters"),
        (
            ["a.yaml", "-m", "m.json", "--expect", "0" * 12, "--update"],
            "--update writes the plan as it is, and --expect",
        ),
        (["a.yaml", "-m", "m.json", "--markdown", "b.yaml"], "'b.yaml' exists and is no result of a check"),
        (["a.yaml", "-m", "m.json", "--markdown", "no/a.md"], "cannot write 'no/a.md': No such file"),
        (["a.yaml", "-m", "m.json", "--ignore", "warnin"], "no finding 'warnin'. Did you mean 'warning'"),
        (["a.yaml", "-m", "m.json", "--world-size", "0"], "must be a whole number from 1, not 0"),
        (["a.yaml"], "--model is required with this config"),
        (["c.yaml", "-m", "m.json", "--update"], "c.yaml: No such file"),
        (
            ["a.yaml", "-m", "m.json", "--lock", "no/plans.lock", "--update"],
            "cannot write 'no/plans.lock': No such file",
        ),
    ],
)
def test_a_mistake_is_one_message(arguments: list[str], words: str, capsys: Capture, here: Path) -> None:
    assert main(["check", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (here / "plans.lock").exists()


def test_a_lock_file_without_entries_is_no_success(here: Path, capsys: Capture) -> None:
    (here / "plans.lock").write_text("")
    assert main(["check"]) == 2
    assert "plans.lock has no entry" in capsys.readouterr().err


def test_a_damaged_lock_file_is_never_replaced(locked: Path, capsys: Capture) -> None:
    good = locked.read_bytes()
    for seed in range(30):
        chance = random.Random(seed)
        place, length = chance.randrange(len(good)), chance.choice([1, 4, 40])
        damaged = good[:place] + bytes(chance.choices(b"\n -:{}[]&*|>'\"#,0\xff", k=length)) + good[place + length :]
        locked.write_bytes(damaged)
        status = main([*ADD[:4], "--update"])
        err = capsys.readouterr().err
        assert status in (0, 2)
        assert status == 0 or (locked.read_bytes() == damaged and err.startswith("Error: "))
        assert "Traceback" not in err


def git(*arguments: str, status: int = 0) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    assert subprocess.run(["git", *who, *arguments], capture_output=True).returncode == status


def test_an_update_takes_the_entries_of_both_sides_of_a_conflict(locked: Path, capsys: Capture, here: Path) -> None:
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-qm", "base")
    git("branch", "other")
    for branch, name, lr in (("main", "c", "0.005"), ("other", "d", "0.006")):
        git("checkout", "-q", branch)
        for written in (f"{name}.yaml", "b.yaml"):
            (here / written).write_text(CONFIG.replace("0.001", lr))
            assert main(["check", written, "-m", "m.json", "--update"]) == 0
        git("add", "-A")
        git("commit", "-qm", "a change")
    git("merge", "main", status=1)
    (here / "b.yaml").write_text(CONFIG.replace("0.001", "0.007"))
    before = locked.read_bytes()
    assert main(["check"]) == 2
    assert locked.read_bytes() == before
    assert main(["check", "--update"]) == 0
    assert re.findall("config: (.*)", locked.read_text()) == ["a.yaml", "b.yaml", "c.yaml", "d.yaml"]
    assert main(["check"]) == 0


def test_json_has_what_a_program_wants(locked: Path, capsys: Capture, here: Path) -> None:
    edit(here / "b.yaml", "0.002", "0")
    assert main(["check", "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)["plans"]
    assert first == {
        "config": "a.yaml", "model": "m.json", "set": [], "optimizer": None, "world_size": None,
        "fingerprint": fingerprint(), "problems": [], "changes": [], "new": False,
    }  # fmt: skip
    assert [problem["id"] for problem in second["problems"]] == ["changed", "lr-zero"]
    assert "+  lr 0.0, weight_decay 0.05; 3 tensors, 48 elements" in second["changes"]


GAN = """
optim_wrapper:
  generator: {optimizer: {type: adamw, lr: 0.1, weight_decay: 0}}
  critic: {optimizer: {type: adamw, lr: 0.2, weight_decay: 0}}
"""
NETS = Inventory([ParamInfo(f"{part}.weight", (2, 2)) for part in ("generator", "critic")])


def test_a_config_of_two_optimizers_is_one_entry(here: Path, capsys: Capture) -> None:
    (here / "gan.yaml").write_text(GAN)
    (here / "nets.json").write_text(json.dumps(NETS.to_dict()))
    gan = ["check", "gan.yaml", "-m", "nets.json"]
    assert main([*gan, "--update"]) == 0
    text = (here / "plans.lock").read_text()
    assert re.search(r"fingerprint:\n    generator: [0-9a-f]{64}\n    critic: ", text)
    assert main([*gan, "--expect", "0" * 12]) == 2
    assert "this config has 2 optimizers; choose one with --optimizer: generator, critic" in capsys.readouterr().err
    assert main([*gan, "--optimizer", "critic", "--expect", "0" * 12]) == 1
    edit(here / "gan.yaml", "lr: 0.2", "lr: 0.3")
    assert main(["check"]) == 1
    out = capsys.readouterr().out
    assert "  changed  plans.lock has generator " in out
    assert [line.split()[1:3] for line in out.splitlines() if line[4:5] in ("-", "+")] == [
        ["lr", "0.2,"],
        ["lr", "0.3,"],
    ]


def test_another_lock_file_is_compared_with_for_show_only(locked: Path, capsys: Capture, here: Path) -> None:
    base = here / "base.lock"
    base.write_bytes(locked.read_bytes())
    edit(here / "a.yaml", "0.001", "0.004")
    (here / "b.yaml").rename(here / "c.yaml")
    edit(locked, "config: b.yaml", "config: c.yaml")
    assert main(["check", "--update"]) == 0
    capsys.readouterr()
    assert main(["check", "--against", "base.lock"]) == 0
    out = capsys.readouterr().out
    assert "a.yaml -m m.json\n     blocks.{0..2}.weight\n    -  lr 0.001" in out
    assert "\nc.yaml -m m.json\n  new: there is no entry to compare it with\n" in out
    assert out.endswith("b.yaml -m m.json\n  gone\n\n2 plans without a problem\n")
    assert main(["check", "--against", "base.lock", "--markdown", "plans.md"]) == 0
    assert capsys.readouterr().out == out
    out = (here / "plans.md").read_text("utf-8")
    assert out.startswith(
        "<!-- optimbuild check: something to tell -->\n### Plans\n\n2 plans: 1 changed, 1 new, 1 gone.\n"
    )
    assert "`a.yaml -m m.json`\n\n```diff\n blocks.{0..2}.weight\n-  lr 0.001" in out
    assert f"`c.yaml -m m.json`, new: `{fingerprint('c.yaml')[:12]}`\n" in out
    assert out.endswith("`b.yaml -m m.json`: gone\n")


def test_nothing_to_tell_is_marked_so(locked: Path, here: Path) -> None:
    for _ in range(2):  # its own file is replaced
        assert main(["check", "--markdown", "plans.md"]) == 0
    expected = "<!-- optimbuild check: nothing to tell -->\n### Plans\n\n2 plans: no change, no problem.\n"
    assert (here / "plans.md").read_text("utf-8") == expected


def test_a_check_of_inventory_files_never_imports_torch(locked: Path) -> None:
    code = "import sys; from optimbuild.cli import main; assert main(['check']) == 0; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
