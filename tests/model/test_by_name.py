"""Models by name: files, callables and Hugging Face configs, and whatever can be wrong with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from optimbuild import MissingPackageError, ModelError, OptimBuildWarning, inventory
from optimbuild.model.by_name import inventory_named
from tests.models import Net

BUILDERS = """\
import os
import torch
from torch import nn

print("a module may print")

class Factory:
    @staticmethod
    def build():
        return nn.Linear(2, 3)

ready = nn.Linear(2, 3)
number = 3

def tall():
    return nn.Linear(2**20, 2**20)  # 4 TiB, were it real

def with_drop_path():
    rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
    return nn.Sequential(*[nn.Linear(2, 2) for _ in rates])

def with_numbers():
    return nn.Linear(2, int(torch.ones(1).item()))

def with_numbers_that_linspace_cannot_mend():
    torch.linspace(0, 1, 2) + torch.ones(2)
    return nn.Linear(2, int(torch.ones(1).item()))

def raising():
    raise ValueError("red \\x1b[31m\\nand more")

def leaving():
    raise SystemExit(3)

def choosy(width):
    return nn.Linear(width, width)

def nothing():
    return None

def bare():
    return nn.Identity()

def complaining():
    from optimbuild import ModelError
    raise ModelError("in our own words")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with modules of which some cannot be imported."""
    modules = {
        "builders_here": BUILDERS,
        "needs_more_here": "import no_such_package_here",
        "wrong_syntax_here": "def build(:",
        "leaves_here": "raise SystemExit('bye')",
        "lazy_here": "def __getattr__(name): raise RuntimeError('not today')",
    }
    (tmp_path / "model.txt").write_text("{}")
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in modules:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_a_callable_runs_on_the_meta_device_and_prints_to_stderr(here, capsys):
    found = inventory_named("builders_here:tall")
    assert [p.shape for p in found] == [(2**20, 2**20), (2**20,)]
    assert capsys.readouterr() == ("", "a module may print\n")


@pytest.mark.parametrize("model", ["builders_here:Factory.build", "builders_here:ready"])
def test_a_callable_may_be_an_attribute_and_a_module_may_be_there_already(here, model):
    assert inventory_named(model) == inventory(nn.Linear(2, 3))


def test_drop_path_rates_from_linspace_are_numbers_on_the_meta_device_too(here):
    assert len(inventory_named("builders_here:with_drop_path")) == 6


def test_an_inventory_file_is_read(here):
    Path("net.JSON").write_text(json.dumps(inventory(Net()).to_dict()))
    assert inventory_named("net.JSON") == inventory(Net())


WRONG = {
    "": "MODEL is an inventory file",
    "resnet50": "MODEL is an inventory file",
    "builders_here": "MODEL is an inventory file",
    "model.txt": "its name does not end in .json",
    ":build": "MODEL is an inventory file",
    "builders_here:": "MODEL is an inventory file",
    "..builders_here:tall": "MODEL is an inventory file",
    "os.path:join('a')": "MODEL is an inventory file",
    "none.json": "No such file",
    "no_such_module_here:build": "there is no module 'no_such_module_here'",
    "builders_here.deeper:build": "there is no module 'builders_here.deeper'",
    "needs_more_here:build": "importing needs_more_here raised ModuleNotFoundError: \"No module named 'no_such_package",
    "wrong_syntax_here:build": "importing wrong_syntax_here raised SyntaxError",
    "leaves_here:build": "importing leaves_here raised SystemExit: 'bye'",
    "lazy_here:build": "importing lazy_here raised RuntimeError: 'not today'",
    "builders_here:tal": "builders_here has no 'tal'. Did you mean 'tall'?",
    "builders_here:number": "must be a callable",
    "builders_here:raising": r"builders_here:raising raised ValueError: 'red \x1b[31m\nand more' (",
    "builders_here:leaving": "builders_here:leaving raised SystemExit: '3'",
    "builders_here:choosy": "missing 1 required positional argument",
    "builders_here:nothing": "must give a torch.nn.Module, not None",
    "builders_here:bare": "no parameters",
    "builders_here:complaining": "in our own words",
    "builders_here:with_numbers": "It was called on the meta device",
    "builders_here:with_numbers_that_linspace_cannot_mend": "It was called on the meta device",
}


@pytest.mark.parametrize("model", WRONG)
def test_a_wrong_model_is_an_error_that_says_what_is_wrong(here, model):
    with pytest.raises(ModelError) as caught:
        inventory_named(model)
    assert WRONG[model] in str(caught.value)
    assert torch.empty(0).device.type == "cpu"


def test_the_error_of_a_callable_names_the_line_of_the_users_code(here):
    with pytest.raises(ModelError) as caught:
        inventory_named("builders_here:with_numbers")
    line = BUILDERS.splitlines().index("    return nn.Linear(2, int(torch.ones(1).item()))") + 1
    assert f"builders_here.py:{line})" in str(caught.value)


VIT = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "image_size": 16,
    "patch_size": 8,
}


def vit(**changes: Any) -> str:
    """Write a config of a ViT, and return its path as MODEL."""
    config = {key: value for key, value in {**VIT, **changes}.items() if value is not ...}
    Path("vit.json").write_text(json.dumps(config))
    return "hf:vit.json"


def test_a_hugging_face_config_becomes_its_architecture(here):
    found = inventory_named(vit())
    assert found.model == "ViTForImageClassification"
    assert found["classifier.weight"].shape == (2, 32)
    assert inventory_named(vit(architectures="ViTForImageClassification")) == found


@pytest.mark.parametrize("architectures", [..., None, []])
def test_without_an_architecture_it_becomes_the_bare_model(here, architectures):
    with pytest.warns(
        OptimBuildWarning, match="names no `architectures`, so the model without a head is planned: ViTM"
    ):
        assert inventory_named(vit(architectures=architectures)).model == "ViTModel"


def test_a_folder_of_save_pretrained_is_read(here):
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {key: value for key, value in VIT.items() if isinstance(value, int)}
    ViTForImageClassification(ViTConfig(**sizes)).save_pretrained("saved")
    assert inventory_named("hf:saved") == inventory_named(vit())
    Path("empty").mkdir()
    with pytest.raises(ModelError, match=r"^hf:empty is a folder without config\.json, which `save_pretrained` writes"):
        inventory_named("hf:empty")


@pytest.mark.parametrize("name", ["some/model-7b", "vit"])
def test_a_name_on_a_hub_is_an_error_that_says_what_to_do(here, name):
    with pytest.raises(ModelError) as caught:
        inventory_named(f"hf:{name}")
    assert "nothing is downloaded. Where there is a network, save the config by" in str(caught.value)
    assert f"AutoConfig.from_pretrained('{name}').save_pretrained('FOLDER')`, and name it as hf:FOLDER" in str(
        caught.value
    )


def test_code_in_a_hugging_face_config_is_never_run(here):
    Path("evil.py").write_text("raise SystemExit('it ran')")
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    assert inventory_named(vit(auto_map=auto_map)).model == "ViTForImageClassification"
    for change in ({"model_type": "evil"}, {"architectures": ["Evil"]}):
        with pytest.raises(ModelError, match=r"brings its own code .* never run"):
            inventory_named(vit(auto_map=auto_map, **change))


WRONG_CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "vitt"}, "knows no model_type 'vitt'. Did you mean 'vit'"),
    ({"model_type": 3}, "knows no model_type 3"),
    ({"model_type": ...}, "a Hugging Face config is an object with `model_type`"),
    ({"architectures": ["ViTForImageClasification"]}, "Did you mean 'ViTForImageClassification'"),
    ({"architectures": ["logging"]}, "has no architecture 'logging'"),
    ({"architectures": [3]}, "has no architecture 3"),
    ({"hidden_size": "wide"}, "hf:vit.json raised "),
]


@pytest.mark.parametrize(("change", "words"), WRONG_CONFIGS)
def test_a_broken_hugging_face_config_is_an_error_that_says_what_is_wrong(here, change, words):
    with pytest.raises(ModelError) as caught:
        inventory_named(vit(**change))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), ("{", "not JSON"), ("[1]", "is an object"), ("[" * 10**5, "not JSON")],
)
def test_a_hugging_face_config_that_is_no_config_is_an_error(here, content, words):
    if content is not None:
        Path("odd.json").write_text(content)
    with pytest.raises(ModelError, match=words):
        inventory_named("hf:odd.json")


def test_without_transformers_it_says_what_to_install(here, monkeypatch):
    model = vit()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'optimbuild\[hf\]'"):
        inventory_named(model)
