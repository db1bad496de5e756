"""Scopes: the package of a config's scope is imported for configs in Python only, and a missing one is named."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry.root import OPTIMIZERS as ROOT
from torch import nn

import optimbuild
from optimbuild import ConfigError, OptimBuildError, make_plan
from optimbuild.cli import main
from optimbuild.registry import scopes

REGISTRY = (
    "from mmengine.registry import OPTIMIZERS as ROOT, Registry\n"
    "print('importing')\n"
    "OPTIMIZERS = Registry('optimizer', parent=ROOT, scope='zoo_scope', locations=['zoo_scope.engine'])\n"
)
ENGINE = (
    "import torch\nfrom zoo_scope.registry import OPTIMIZERS\n"
    "@OPTIMIZERS.register_module()\nclass Pars(torch.optim.SGD):\n    pass\n"
)
IN_SCOPE = "default_scope = 'zoo_scope'\noptim_wrapper = dict(optimizer=dict(type='Pars', lr=1.0))\n"
OF_OPTIMIZER = "optim_wrapper = dict(optimizer=dict(type='Pars', lr=1.0, _scope_='zoo_scope'))\n"
BY_NAME = "optim_wrapper = dict(optimizer=dict(type='zoo_scope.Pars', lr=1.0))\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a scope of its own, as those of OpenMMLab have, that nobody has imported yet."""
    folder = tmp_path / "zoo_scope"
    folder.mkdir()
    for name, text in {"__init__.py": "", "registry.py": REGISTRY, "engine.py": ENGINE}.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(scopes, "_FAILED", {})
    yield folder
    ROOT.children.pop("zoo_scope", None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "zoo_scope"]:
        del sys.modules[name]


def config(folder: Path, text: str) -> str:
    path = folder.parent / "config.py"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("text", [IN_SCOPE, OF_OPTIMIZER, BY_NAME])
def test_a_config_in_python_has_the_package_of_its_scope_imported(package: Path, text: str) -> None:
    assert make_plan(config(package, text), nn.Linear(2, 2)).groups[0].optimizer == "zoo_scope.Pars"


def test_a_config_object_that_a_python_file_made_counts_as_one(package: Path) -> None:
    made = Config.fromfile(config(package, IN_SCOPE), format_python_code=False)
    assert make_plan(made, nn.Linear(2, 2)).groups[0].optimizer == "zoo_scope.Pars"


def test_what_a_package_prints_stays_out_of_json(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(package, IN_SCOPE)
    assert main(["plan", path, "--model", "tests/golden/models/internimage_t.json", "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("{")
    assert "importing" in printed.err


def test_a_config_that_is_data_imports_nothing(package: Path) -> None:
    data = {"default_scope": "zoo_scope", "optim_wrapper": {"optimizer": {"type": "Pars", "lr": 1.0}}}
    with pytest.raises(ConfigError, match=r"unknown optimizer 'Pars'.*`import zoo_scope\.registry` first"):
        make_plan(data, nn.Linear(2, 2))
    assert "zoo_scope" not in sys.modules
    importlib.import_module("zoo_scope.registry")
    assert make_plan(data, nn.Linear(2, 2)).groups[0].optimizer == "zoo_scope.Pars"


def test_a_package_that_is_not_installed_is_named(package: Path) -> None:
    text = IN_SCOPE.replace("zoo_scope", "mmsegmentation_not_there")
    with pytest.raises(ConfigError, match="'mmsegmentation_not_there' is not installed: pip install") as caught:
        make_plan(config(package, text), nn.Linear(2, 2))
    assert caught.value.path == "optim_wrapper.optimizer.type"
    plan = make_plan(config(package, text.replace("Pars", "AdamW")), nn.Linear(2, 2))
    assert plan.groups[0].optimizer == "mmengine.AdamW"  # MMEngine finds it without the package too


@pytest.mark.parametrize("broken", ["registry.py", "engine.py"])
def test_a_package_that_cannot_be_imported_says_why(package: Path, broken: str) -> None:
    text = (package / broken).read_text()
    (package / broken).write_text(f"import nowhere_to_be_found\n{text}")
    with pytest.raises(OptimBuildError, match=r"'zoo_scope' cannot be imported: .*nowhere_to_be_found"):
        make_plan(config(package, IN_SCOPE), nn.Linear(2, 2))


@pytest.mark.parametrize("key", ["default_scope", "_scope_"])
def test_a_scope_that_is_no_name_is_an_error_with_its_path(key: str) -> None:
    optimizer = {"type": "AdamW", "lr": 1.0}
    config = {"optim_wrapper": {"optimizer": optimizer}, "default_scope": None}
    (optimizer if key == "_scope_" else config)[key] = 3
    with pytest.raises(ConfigError, match="must be the name of a scope, not 3") as caught:
        make_plan(config, nn.Linear(2, 2))
    assert caught.value.path == ("default_scope" if key == "default_scope" else "optim_wrapper.optimizer._scope_")


def test_a_runner_takes_the_scope_of_an_optimizer(package: Path) -> None:
    logging.disable()
    optimizer = {"type": "Pars", "lr": 1.0, "_scope_": "zoo_scope"}
    wrapper = build_optim_wrapper(
        nn.Linear(2, 2), {"constructor": "optimbuild.OptimBuildConstructor", "optimizer": optimizer}
    )
    logging.disable(logging.NOTSET)
    assert type(wrapper.optimizer).__name__ == "Pars"


STAND_IN = {
    "registry.py": REGISTRY.replace("zoo_scope", "mmpretrain").replace("print('importing')\n", ""),
    "engine/__init__.py": "import mmpretrain.engine.optimizers.lars\n",
    "engine/optimizers/__init__.py": "",
    "engine/optimizers/lars.py": ENGINE.replace("zoo_scope", "mmpretrain").replace("Pars", "LARS"),
    "__init__.py": "",
}
MARKED = (
    "default_scope = 'mmpretrain'\n"
    "optim_wrapper = dict(optimizer=dict(type='LARS', lr=1.0),\n"
    "    paramwise_cfg=dict(custom_keys=dict(bias=dict(lars_exclude=True))))\n"
)
SCRIPT = (
    "import torch, optimbuild\n"
    "plan = optimbuild.make_plan('config.py', torch.nn.Linear(2, 2))\n"
    "print([(group.optimizer, group.params, group.options.get('lars_exclude')) for group in plan.groups])\n"
)


def test_a_packages_own_class_has_the_marks_that_we_know_of_it(tmp_path: Path) -> None:
    for name, text in STAND_IN.items():
        file = tmp_path / "mmpretrain" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "config.py").write_text(MARKED)
    path = os.pathsep.join([str(tmp_path), str(Path(optimbuild.__file__).parents[1])])
    done = subprocess.run(  # a fresh process, in which none of our optimizers is imported yet
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == [
        "[('mmpretrain.LARS', ('weight',), None), ('mmpretrain.LARS', ('bias',), True)]"
    ], done.stderr
