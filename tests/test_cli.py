"""The command line: what it prints where, how it ends, and what it imports."""

from __future__ import annotations

import gc
import inspect
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from torch import nn

import optimbuild
from optimbuild import Inventory, ParamInfo, Plan, make_plan, rule
from optimbuild.cli import main, program
from optimbuild.values import Ratio
from tests.models import Net

ROOT = Path(__file__).parents[1]

OWN = """\
optimizer: {type: adamw, lr: 1e-3, weight_decay: 0.05}
rules:
  - {type: no_decay}
  - {type: layer_decay, ratio: 0.5}
"""
YACS = "TRAIN: {BASE_LR: 1.0e-3, WEIGHT_DECAY: 0.05, OPTIMIZER: {NAME: sgd}}\n"
MODEL = {
    "model": "Tiny",
    "params": [
        {"name": "stem.weight", "shape": [8, 4], "owner": "Linear", "bases": ["Linear"]},
        *(
            {"name": f"blocks.{i}.{name}", "shape": shape, "owner": owner, "bases": [owner]}
            for i in range(2)
            for name, shape, owner in (
                ("norm.weight", [8], "LayerNorm"),
                ("fc.weight", [8, 8], "Linear"),
                ("fc.bias", [8], "Linear"),
            )
        ),
        {"name": "head.weight", "shape": [1000, 8], "owner": "Linear", "bases": ["Linear"]},
    ],
    "hooks": {"lr_decay_keywords": {"0.5": {"stem": 0.125, "blocks.0.": 0.25, "blocks.1.": 0.5}}},
}
MODULE = """\
import torch

def noisy():
    print("this goes to stdout")
    return torch.nn.Linear(2, 2)

def interrupted():
    raise KeyboardInterrupt

class Odd(BaseException):
    pass

def odd():
    raise Odd("odd")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with configs, an inventory file and a module."""
    files = {"own.yaml": OWN, "yacs.yaml": YACS, "model.json": json.dumps(MODEL), "builders_of_cli.py": MODULE}
    files["misspelt.yaml"] = OWN.replace("ratio", "ration")
    files["typo.yaml"] = OWN.replace("optimizer:", "optimiser:")
    files["fine.yaml"] = OWN.replace("no_decay", "no_decay, bias: false")
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return the exit status, stdout and stderr of a command."""
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def spawn(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with the package importable."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, encoding="utf-8", timeout=120, env=environment, **options
    )


PLAN = ("plan", "own.yaml", "--model", "model.json")


def test_plan_prints_the_report_on_stdout_and_the_warnings_on_stderr(here, capsys):
    status, out, err = run(capsys, *PLAN)
    plan = make_plan("own.yaml", "model.json")
    assert status == 0
    assert out.startswith("model        Tiny: 8.19k parameters in 8 tensors\n")
    _, of_groups, _ = run(capsys, *PLAN, "--groups")
    assert [int(n) for n in re.findall(r"^ +(\d+) ", of_groups, re.MULTILINE)] == list(range(len(plan.groups)))
    assert plan.fingerprint[:12] in out
    assert plan.warnings
    assert err == "".join(f"Warning: {warning}\n" for warning in plan.warnings)
    assert "Warning" not in out


def test_plan_with_params_has_a_row_a_parameter(here, capsys):
    _, out, _ = run(capsys, *PLAN, "--params")
    names = [str(row["name"]) for row in MODEL["params"]]
    leaves = [name.rpartition(".")[2] for name in names]
    assert [line.split()[-1] for line in out.splitlines() if re.match(r" +\d+ ", line)] == leaves


def test_plan_as_json_is_the_plan_even_while_the_model_prints(here, capsys):
    status, out, err = run(capsys, "plan", "own.yaml", "-m", "model.json", "--json")
    assert (status, json.loads(out)) == (0, json.loads(json.dumps(make_plan("own.yaml", "model.json").to_dict())))
    assert Plan.from_json(out) == make_plan("own.yaml", "model.json")
    status, out, err = run(
        capsys, "plan", "own.yaml", "-m", "builders_of_cli:noisy", "--json", "--set", "rules=[{type: no_decay}]"
    )
    assert (status, json.loads(out)["model"], err) == (0, "Linear", "this goes to stdout\n")


@pytest.mark.parametrize(
    ("config", "override", "name", "lr"),
    [
        ("own.yaml", "optimizer.lr=2e-3", "head.weight", 2e-3),
        ("own.yaml", "rules=[]", "stem.weight", 1e-3),
        ("own.yaml", "rules[1].min_scale=0.2", "stem.weight", 2e-4),
        ("yacs.yaml", "TRAIN.BASE_LR=0.2", "head.weight", 0.2),
        ("yacs.yaml", "TRAIN.OPTIMIZER.RULES=[{type: layer_decay, ratio: 0.5}]", "stem.weight", 1.25e-4),
    ],
)
def test_set_overrides_a_key_in_the_dialect_of_the_config(here, capsys, config, override, name, lr):
    status, out, _ = run(capsys, "plan", config, "-m", "model.json", "--json", "--set", override)
    assert status == 0
    assert next(p for p in json.loads(out)["params"] if p["name"] == name)["options"]["lr"] == lr


def test_explain_shows_every_step_with_the_file_and_line_of_its_rule(here, capsys):
    status, out, err = run(capsys, "explain", "own.yaml", "-m", "model.json", "blocks.0.fc.bias", "head.weight")
    first, second = out.split("\n\n")
    told = "Warning: rules[1] (layer_decay): no layer claims these parameters, so they keep the full LR: head.weight\n"
    assert (status, err) == (0, told)
    assert first.startswith("blocks.0.fc.bias\n")
    assert second.startswith("head.weight\n")
    assert re.search(r"weight_decay +0.05 → 0 \(no_decay: ", first)
    assert re.search(
        r"lr +0.001 × 0.25 \(layer_decay: .*\) = 2.5e-04\n", " ".join(first.split(" ")).replace("\n     ", "")
    )
    whole = re.sub(r"(?<=[/.,])\n +", "", first)  # a long path goes on in the next line
    for name, place_in_config in (("no_decay", "own.yaml:3"), ("layer_decay", "own.yaml:4")):
        place = next(word for word in whole.replace(",", " ").split() if f"{name}.py:" in word)
        assert place_in_config in first
        file, _, line = place.rpartition(":")
        assert Path(file).read_text("utf-8").splitlines()[int(line) - 1] == f'@rule("{name}")'
    assert "rule 1 of" not in second


@pytest.mark.parametrize(
    ("configs", "status", "words"),
    [
        (("own.yaml", "own.yaml"), 0, ["no difference"]),
        (("own.yaml", "fine.yaml"), 0, ["no difference"]),  # biases are one-dimensional as well
        (("own.yaml", "yacs.yaml"), 1, ["own.yaml", "yacs.yaml", "optimizer", "1.25e-04"]),
    ],
)
def test_diff_ends_with_0_for_the_same_and_1_for_different(here, capsys, configs, status, words):
    found, out, _ = run(capsys, "diff", *configs, "-m", "model.json")
    assert found == status
    assert all(word in out for word in words)
    found, out, _ = run(capsys, "diff", *configs, "-m", "model.json", "--json")
    assert (found, json.loads(out)["same"]) == (status, status == 0)


def test_diff_ends_with_2_for_trouble_and_names_the_config(here, capsys):
    status, out, err = run(capsys, "diff", "own.yaml", "misspelt.yaml", "-m", "model.json")
    assert (status, out) == (2, "")
    assert err.startswith("Error: misspelt.yaml: rules[1]")
    assert "unknown key 'ration'. Did you mean 'ratio'?" in err


def test_diff_overrides_both_configs_or_one_of_them(here, capsys):
    model = ("-m", "model.json")
    both = ("--set", "optimizer.lr=0.5")
    status, out, _ = run(capsys, "diff", "own.yaml", "own.yaml", *model, *both)
    assert (status, out) == (0, "no difference: every parameter gets the same (8 tensors)\n")
    status, out, _ = run(capsys, "diff", "own.yaml", "own.yaml", *model, *both, "--set-b", "optimizer.lr=0.25")
    assert status == 1
    assert out.splitlines()[1].startswith("after   own.yaml --set optimizer.lr=0.25 (")
    assert re.search(r"^lr +0.5 +0.25 ", out, re.MULTILINE)
    status, out, _ = run(capsys, "diff", "own.yaml", "own.yaml", *model, "--set-a", "optimizer.lr=2e-3")
    assert re.search(r"^lr +2.00e-03 +1.00e-03 +1 +head.weight$", out, re.MULTILINE)
    status, _, err = run(capsys, "diff", "own.yaml", "own.yaml", *model, "--set-a", "optimizer.lr=-1")
    assert (status, err.partition(" must")[0]) == (2, "Error: own.yaml --set optimizer.lr=-1: optimizer.lr:")


def test_diff_warns_of_what_only_one_plan_warns_of(here, capsys):
    _, _, err = run(capsys, "diff", "own.yaml", "fine.yaml", "-m", "model.json")
    assert err == ""
    _, _, err = run(capsys, "diff", "own.yaml", "yacs.yaml", "-m", "model.json")
    assert err.startswith("Warning: own.yaml: rules[1] (layer_decay): no layer claims these parameters")


def test_explain_takes_modules_and_patterns(here, capsys):
    status, out, _ = run(capsys, "explain", "own.yaml", "-m", "model.json", "blocks.0", "**.weight")
    assert status == 0
    assert "blocks.0: 3 tensors, " in out
    assert "**.weight: 6 tensors, " in out


MISTAKES = {
    "no arguments": ((), ""),
    "unknown command": (("plane",), "plane"),
    "no config": (("plan", "-m", "model.json"), "CONFIG"),
    "no model": (("plan", "own.yaml"), "--model"),
    "unknown option": ((*PLAN, "--prams"), "--prams"),
    "config is missing": (("plan", "none.yaml", "-m", "model.json"), "none.yaml"),
    "config is a folder": (("plan", ".", "-m", "model.json"), "Is a directory"),
    "key with another spelling": (("plan", "typo.yaml", "-m", "model.json"), "Did you mean 'optimizer'"),
    "config is a model": (("plan", "model.json", "-m", "model.json"), "dialect"),
    "config has a misspelt key": (("plan", "misspelt.yaml", "-m", "model.json"), "Did you mean 'ratio'?"),
    "model is missing": (("plan", "own.yaml", "-m", "none.json"), "none.json"),
    "model is no form of a model": (("plan", "own.yaml", "-m", "resnet50"), "package.module:callable"),
    "set has no value": ((*PLAN, "--set", "optimizer.lr"), "KEY=VALUE"),
    "set has no key": ((*PLAN, "--set", "=1"), "KEY=VALUE"),
    "set is not YAML": ((*PLAN, "--set", "optimizer.lr=[1"), "YAML"),
    "set runs nothing": ((*PLAN, "--set", "optimizer.lr=!!python/name:os.system"), "python/name"),
    "set names no entry": ((*PLAN, "--set", "rules[7].ratio=1"), "rules[7].ratio"),
    "set names no option": ((*PLAN, "--set", "optimizer.lrr=1"), "Did you mean 'lr'?"),
    "set gives a wrong value": ((*PLAN, "--set", "rules[1].ratio=2"), "rules[1].ratio"),
    "set with control characters": ((*PLAN, "--set", "optimizer.\x1b[31m=1"), r"\x1b"),
    "no parameter": (("explain", "own.yaml", "-m", "model.json"), "PARAM"),
    "unknown parameter": (("explain", "own.yaml", "-m", "model.json", "head.wieght"), "Closest: head.weight"),
    "unknown list": (("list", "rule"), "Did you mean 'rules' or"),
    "unknown name": (("list", "no_decy"), "has the name 'no_decy'. Did you mean 'no_decay'?"),
    "unknown kind": (("list", "rule", "no_decay"), "Did you mean 'rules'?"),
    "unknown module": (("explain", "own.yaml", "-m", "model.json", "block"), "Closest: blocks"),
    "unknown pattern": (("explain", "own.yaml", "-m", "model.json", "block.*"), "matches no parameter"),
    "malformed pattern": (("explain", "own.yaml", "-m", "model.json", "block.{"), "no name and no pattern"),
    "unknown rule": (("list", "rules", "no_decy"), "Did you mean 'no_decay'?"),
    "unknown optimizer": (("list", "optimizers", "os.system"), "a dotted path is never imported"),
    "inventory cannot be written": (("inventory", "model.json", "-o", "no/where.json"), "no/where.json"),
    "model has no use for a ratio": (("inventory", "tests.models:Net", "--ratio", "0.33"), "asks for nothing"),
    "ratio is no number": (("inventory", "model.json", "--ratio", "x"), "--ratio"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_with_one_message_and_status_2(here, capsys, mistake):
    arguments, words = MISTAKES[mistake]
    status, out, err = run(capsys, *arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in err
    assert err.count("Error: ") == bool(arguments)
    assert out == "" or not arguments  # without arguments, help
    assert "\x1b" not in err


def test_list_shows_each_entry_with_its_docstring_and_place(capsys):
    status, out, err = run(capsys, "list")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert "no_decay Set the weight decay of norms, biases, vectors and named parameters to 0." in lines
    assert [line for line in lines if line.startswith("optimbuild.rules.no_decay:")]
    assert "sgd_linear_probing torch.optim:SGD; fixed: momentum 0.9, nesterov false, weight_decay 0.0" in lines
    assert "RMSprop" in out.partition("from MMEngine")[2]
    _, rules, _ = run(capsys, "list", "rules")
    assert "adamw" not in rules
    assert rules.strip() in out


@rule("probe")
class Probe:
    """Do nothing.

    But say so at length.
    """

    ratio: Ratio
    """Its first option."""
    pieces: tuple[str, ...] = ("a", "b")

    def __call__(self, param: ParamInfo) -> None:
        return None


def test_list_with_a_name_shows_docstring_options_and_defaults(capsys):
    status, out, _ = run(capsys, "list", "rules", "probe")
    line = inspect.getsourcelines(Probe)[1]
    assert status == 0
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "probe",
        f"tests.test_cli:{line}",
        f"{__file__}:{line}",
        "",
        "Do nothing.",
        "",
        "But say so at length.",
        "",
        "options",
        "ratio number in (0, 1]; required",
        "Its first option.",
        "pieces list of string; default [a, b]",
    ]


def test_list_describes_an_optimizer_of_mmengine_by_its_signature(capsys):
    _, out, _ = run(capsys, "list", "optimizers", "RMSprop")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert {"alpha number; default 0.99", "lr number ≥ 0; default 0.01"} <= set(lines)


def test_list_shows_what_an_optimizer_fixes(capsys):
    _, out, _ = run(capsys, "list", "optimizers", "sgd_linear_probing")
    assert "weight_decay 0.0; fixed" in [" ".join(line.split()) for line in out.splitlines()]


def test_list_loads_plugins_shows_their_package_and_warns_of_broken_ones(here):
    for name, module in (("good", "good_plugin"), ("bad", "no_such_module")):
        info = here / f"{name}_dist-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.2\n")
        (info / "RECORD").write_text(f"{module}.py,,\n")
        (info / "entry_points.txt").write_text(f"[optimbuild.plugins]\n{name} = {module}\n")
    (here / "good_plugin.py").write_text(
        "from optimbuild import RULES\n@RULES.register_module('plain')\nclass Plain:\n"
        "    'A rule of MMEngine\\'s kind.'\n    def __init__(self, pieces=()): self.pieces = pieces\n"
        "    def __call__(self, param): return None\n"
    )
    environment = {"PYTHONPATH": os.pathsep.join([str(here), str(ROOT)])}
    listed = spawn("-m", "optimbuild", "list", "rules", env=environment)
    assert listed.returncode == 0
    assert "good_plugin:2 (good-dist 1.2)" in listed.stdout
    assert listed.stderr.startswith("Warning: plugin 'bad' of bad-dist 1.2 (no_such_module)")
    one = spawn("-m", "optimbuild", "list", "rules", "plain", env=environment)
    assert "A rule of MMEngine's kind." in one.stdout
    assert "(pieces=()), not declared with types" in one.stdout


def test_an_inventory_file_plans_as_the_model_does(here, capsys):
    assert run(capsys, "inventory", "tests.models:Net", "-o", "net.json")[0] == 0
    assert make_plan("own.yaml", "net.json") == make_plan("own.yaml", Net())
    status, out, err = run(capsys, "inventory", "tests.models:Net")
    assert (status, out, err) == (0, Path("net.json").read_text(), "")
    assert len([line for line in out.splitlines() if '"name"' in line]) == len(list(Net().parameters()))


class Hooked(Net):
    """A model that answers for any ratio."""

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        return {"stem": ratio}


def test_an_inventory_keeps_the_answers_for_the_ratios_that_were_asked_for(here, capsys):
    _, out, _ = run(capsys, "inventory", "tests.test_cli:Hooked", "--ratio", "0.33", "--ratio", "0.44")
    hooks = Inventory.from_dict(json.loads(out)).hooks
    assert [hooks.lr_decay_keywords(ratio) for ratio in (0.33, 0.44, 0.875)] == [
        {"stem": r} for r in (0.33, 0.44, 0.875)
    ]


class Around(nn.Module):
    """A model around one that answers."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Hooked()


def test_an_inventory_keeps_the_answers_of_a_module_inside_for_a_ratio(here, capsys):
    _, out, _ = run(capsys, "inventory", "tests.test_cli:Around", "--ratio", "0.33")
    hooks = Inventory.from_dict(json.loads(out)).hints.inner["backbone"]
    assert hooks.answers["lr_decay_keywords"]["0.33"] == {"stem": 0.33}


def test_the_schema_accepts_good_configs_and_refuses_a_misspelt_option(capsys):
    status, out, _ = run(capsys, "schema")
    validator = jsonschema.Draft202012Validator(json.loads(out))
    assert status == 0
    assert validator.is_valid(yaml.safe_load(OWN))
    assert not validator.is_valid(yaml.safe_load(OWN.replace("ratio", "ration")))


def test_help_and_version_need_no_model(capsys):
    assert run(capsys, "--version") == (0, f"optimbuild {optimbuild.__version__}\n", "")
    status, out, err = run(capsys, "-h")
    assert (status, err) == (0, "")
    assert all(command in out for command in ("plan", "explain", "diff", "list", "inventory", "schema"))


IMPORTED = """
import json, sys
from optimbuild.cli import main, program
for arguments in json.loads(sys.argv[1]):
    assert main(arguments) == 0, arguments
heavy = ("torch", "matplotlib", "mmengine", "pydantic")
print("imported:", *[name for name in heavy if name in sys.modules], file=sys.stderr)
"""

WITHOUT_TORCH = [
    [*PLAN, "--json"],
    [*PLAN, "--params", "--set", "optimizer={type: sgd, lr: 0.1}"],
    [*PLAN, "--set", "optimizer={type: sgd_linear_probing, lr: 0.1}", "--set", "rules.0.optional=true"],
    ["plan", "yacs.yaml", "-m", "model.json"],
    ["explain", "own.yaml", "-m", "model.json", "head.weight"],
    ["diff", "own.yaml", "own.yaml", "-m", "model.json"],
    ["inventory", "model.json"],
    ["list"],
    ["list", "no_decay"],
    ["list", "sgd"],
    ["schema"],
]


@pytest.mark.parametrize(
    ("commands", "imported"),
    [
        ([["--help"]], set()),
        ([["plan", "--help"]], {"pydantic"}),  # some releases of typer take it for the options of a command
        (WITHOUT_TORCH, {"pydantic", "mmengine"}),
        ([["plot", *PLAN[1:], "-o", "lr.svg"]], {"pydantic", "mmengine", "matplotlib"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs(here, commands, imported):
    ran = spawn("-c", IMPORTED, json.dumps(commands))
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stderr.splitlines()[-1].split()[1:]) <= imported


def test_a_reader_that_stops_reading_ends_the_program_quietly(here):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "optimbuild", *PLAN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 141
    assert errors == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_one_message(here):
    with open("/dev/full", "w") as full:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "optimbuild", *PLAN]
        ran = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=60, encoding="utf-8"
        )
    assert (ran.returncode, ran.stderr) == (2, "Error: cannot write to stdout: No space left on device\n")


def test_an_interrupt_ends_without_a_traceback(here, capsys):
    status, out, err = run(capsys, "plan", "own.yaml", "-m", "builders_of_cli:interrupted")
    assert status not in (0, 1)
    assert (out, "Traceback" in err) == ("", False)


def test_a_mistake_of_our_own_shows_its_traceback_and_ends_with_2(here, capsys, monkeypatch):
    monkeypatch.setattr("optimbuild.model.by_name.inventory_named", lambda model: 1 / 0)
    status, _, err = run(capsys, "diff", "own.yaml", "own.yaml", "-m", "model.json")
    assert status == 2
    assert "ZeroDivisionError" in err
    assert err.endswith("please report it with the lines above\n")


@pytest.mark.parametrize(
    "command", [("plan", "own.yaml", "-m"), ("diff", "own.yaml", "own.yaml", "-m"), ("inventory",)]
)
def test_a_model_that_raises_a_bare_base_exception_ends_with_2(here, capsys, command):
    status, out, err = run(capsys, *command, "builders_of_cli:odd")
    assert (status, out) == (2, "")
    assert err.startswith("Error: builders_of_cli:odd raised Odd: 'odd' (")


def test_a_bare_base_exception_of_other_code_ends_with_2(here, capsys):
    @rule("odd_in_cli")
    class OddRule:
        def __call__(self, param: ParamInfo) -> None:
            raise GeneratorExit("odd")

    status, _, err = run(capsys, *PLAN, "--set", "rules=[{type: odd_in_cli}]")
    assert status == 2
    assert err.endswith("Error: GeneratorExit: 'odd', raised by code that optimbuild called\n")


@pytest.mark.parametrize("arguments", [("--traceback", *PLAN), (*PLAN, "--traceback")])
def test_the_traceback_of_an_error_is_printed_where_it_is_asked_for(here, capsys, arguments):
    @rule("broken_in_cli", force=True)
    class Broken:
        def __call__(self, param: ParamInfo) -> None:
            raise ZeroDivisionError("broken")

    override = ("--set", "rules=[{type: broken_in_cli}]")
    status, _, plain = run(capsys, *PLAN, *override)
    assert (status, "Traceback" in plain) == (2, False)
    assert re.search(r"test_cli.py:\d+, for the parameter 'stem.weight'\)$", plain)
    status, _, err = run(capsys, *arguments, *override)
    assert status == 2
    assert 'raise ZeroDivisionError("broken")' in err
    assert err.endswith(plain)
    assert "--traceback" in run(capsys, "--help")[1]


FORGED = ["x\nError: forged", "x\r\nError: forged", "x\0", "x\x1b[31m"]


@pytest.mark.parametrize("text", FORGED)
def test_no_path_or_name_can_forge_a_line_of_its_own(here, capsys, text):
    (here / "based.yaml").write_text(f"BASE: [{json.dumps(text)}]\noptimizer: {{type: adamw}}\n")
    commands = [
        ("plan", f"{text}.yaml", "-m", "model.json"),
        ("plan", f"{text}.py", "-m", "model.json"),
        ("plan", f"{text}.py"),
        ("plan", "based.yaml", "-m", "model.json"),
        ("diff", "own.yaml", f"{text}.yaml", "-m", "model.json"),
        *[("plan", "own.yaml", "-m", f"{start}{text}{end}") for start, end in (("", ""), ("", ".py"), ("", ".json"))],
        ("plan", "own.yaml", "-m", f"hf:{text}.json"),
        (*PLAN, "--set", f"optimizer.{text}=1"),
        ("explain", "own.yaml", text, "-m", "model.json"),
        ("list", "rules", text),
        ("inventory", "model.json", "-o", f"nowhere/{text}.json"),
        (text, "own.yaml"),
        (*PLAN, f"--{text}"),
        (*PLAN, "--world-size", text),
        (*PLAN, text),
        ("plot", *PLAN[1:], "-o", f"nowhere/{text}.svg"),
        ("plot", *PLAN[1:], "-o", text),
        ("plot", *PLAN[1:], "-o", "lr.svg", "--steps", "9", "--schedule", text),
        ("list", text),
    ]
    for command in commands:
        status, out, err = run(capsys, *command)
        assert (status, out) == (2, ""), command
        assert err.startswith("Error: "), command
        assert err.rstrip("\n").isprintable(), command


def test_an_inventory_replaces_inventories_and_no_other_file(here, capsys):
    (here / "empty.json").touch()
    for name in ("new.json", "model.json", "empty.json"):
        status, _, err = run(capsys, "inventory", "model.json", "-o", name)
        assert (status, err) == (0, f"Wrote: {name}: 8 tensors\n")
        assert len(Inventory.read(here / name)) == 8
    for name in ("own.yaml", "builders_of_cli.py"):
        before = (here / name).read_bytes()
        status, _, err = run(capsys, "inventory", "model.json", "-o", name)
        assert status == 2
        assert err.startswith(f"Error: '{name}' exists and is no inventory file, so it is not replaced.")
        assert (here / name).read_bytes() == before


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self) -> bool:
        return True


def run_in_terminal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Return what a command prints in a terminal that is 80 characters wide and has colors."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    main(arguments)
    return sys.stdout.getvalue()


def test_a_terminal_gets_styles_and_its_own_width(here, monkeypatch):
    text = run_in_terminal(monkeypatch, *PLAN)
    assert "\x1b[1mmodel        Tiny: " in text
    assert max(len(line) for line in re.sub(r"\x1b\[\d*m", "", text).splitlines()) <= 80


def test_no_color_means_no_bold_either(here, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Terminal())
    main(PLAN)
    assert "\x1b" not in sys.stdout.getvalue()


@pytest.mark.parametrize("columns", [60, 140])
def test_columns_is_the_width_without_a_terminal(here, capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = run(capsys, *PLAN)
    assert max(map(len, out.splitlines())) <= columns
    assert ("× 0.5 per layer" in out) == (columns > 100)


def test_plan_refuses_two_views_at_once(here, capsys):
    status, out, err = run(capsys, *PLAN, "--groups", "--params")
    assert (status, out) == (2, "")
    assert "two views" in err


def test_nothing_is_taken_for_markup(here, monkeypatch):
    (here / "[red]other.yaml").write_text(OWN.replace("1e-3", "1e-4"))
    text = run_in_terminal(monkeypatch, "diff", "own.yaml", "[red]other.yaml", "-m", "model.json")
    assert "after   [red]other.yaml" in text


def test_a_terminal_that_cannot_show_our_signs_gets_others(here):
    ran = spawn(
        "-m", "optimbuild", "explain", "own.yaml", "-m", "model.json", "head.weight", "stem.weight",
        env={"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert ran.returncode == 0
    assert "0.001 x 0.125 (layer_decay" in ran.stdout
    assert ran.stdout.isascii()


def test_only_a_process_of_its_own_looks_for_garbage_rarely(capsys):
    before = gc.get_threshold()
    assert main(["--help"]) == 0
    assert gc.get_threshold() == before
    run = (
        "import gc, sys; sys.argv[1:] = ['--help']; from optimbuild.cli import main; main(); print(gc.get_threshold())"
    )
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == str(program.RARELY)
