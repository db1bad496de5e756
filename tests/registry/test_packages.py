"""Names of other packages' optimizers: prefixes, what is imported, and messages."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from lion_pytorch import Lion
from schedulefree import AdamWScheduleFree
from torch import nn

from optimbuild import OPTIMIZERS, ConfigError, MissingPackageError, RegistrationError, UnknownNameError, make_plan
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.packages import PACKAGES, OptimizerPackage, declare, find_without_prefix


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the packages that a test declared."""
    OPTIMIZERS.names()
    monkeypatch.setattr("optimbuild.registry.packages.PACKAGES", PACKAGES)
    for prefix in ("no_such_package", "broken_package"):
        monkeypatch.delitem(PACKAGES, prefix, raising=False)


def planned(kind: str) -> str:
    return make_plan({"optimizer": {"type": kind, "lr": 0.1}}, nn.Linear(2, 2)).groups[0].optimizer


@pytest.mark.parametrize("name", ["lion_pytorch.Lion", "lion_pytorch.lion"])
def test_a_prefix_says_which_package_is_meant(name: str) -> None:
    assert find_optimizer(name).load() is Lion
    assert name in OPTIMIZERS
    assert planned(name) == "lion_pytorch.Lion"


@pytest.mark.parametrize("name", ["AdamWScheduleFree", "adamwschedulefree"])
def test_a_name_that_one_package_has_needs_no_prefix(name: str) -> None:
    assert find_optimizer(name).load() is AdamWScheduleFree
    assert planned(name) == "schedulefree.AdamWScheduleFree"


def test_a_name_that_several_packages_have_is_an_error_that_lists_them() -> None:
    with pytest.raises(
        UnknownNameError, match=r"^optimizer\.type: 'prodigy' is in 2 packages\. Write one of: .*"
    ) as found:
        planned("prodigy")
    assert {"pytorch_optimizer.Prodigy", "prodigyopt.Prodigy"} <= set(
        str(found.value).rstrip(".").replace(",", "").split()
    )
    assert "prodigy" not in OPTIMIZERS


def test_packages_that_offer_the_same_class_do_not_disagree() -> None:
    found = find_without_prefix("lbfgs")  # of torch, and torch's own in pytorch_optimizer
    assert found is not None
    assert (found.name, found.load()) == ("torch.LBFGS", torch.optim.LBFGS)


def test_our_names_come_first_and_mmengines_before_those_of_packages() -> None:
    assert find_optimizer("SGD").name == "sgd"
    assert find_optimizer("Lion").name == "Lion"  # MMEngine registers it where lion-pytorch is installed
    assert find_optimizer("RMSprop").name == "RMSprop"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("schedulefree.AdamWScheduleFree", "schedulefree.AdamWScheduleFree"),
        ("lion_pytorch.Lion", "lion_pytorch.Lion"),
        ("AdamWScheduleFree", "schedulefree.AdamWScheduleFree"),
        ("Lion", "mmengine.Lion"),
        ("torch.optim.AdamW", "mmengine.AdamW"),
    ],
)
def test_configs_of_mmengine_may_name_a_package(name: str, found: str) -> None:
    wrapper = {"optimizer": {"type": name, "lr": 0.1}, "constructor": "optimbuild.OptimBuildConstructor"}
    assert make_plan({"optim_wrapper": wrapper}, nn.Linear(2, 2)).groups[0].optimizer == found


def test_an_unknown_name_of_a_package_is_an_error_that_lists_its_names() -> None:
    with pytest.raises(
        UnknownNameError, match=r"has no optimizer 'Lino'\. Did you mean 'Lion'\?.*'lion_pytorch\.'.* Lion"
    ):
        planned("lion_pytorch.Lino")


@pytest.mark.parametrize("name", ["lion_pytorch.lion_pytorch.Lion", "torch.optim.SGD", "timm.optim.Lion"])
def test_a_dotted_path_into_a_package_is_no_name(name: str) -> None:
    with pytest.raises(UnknownNameError, match="a dotted path is never imported"):
        planned(name)


def test_a_package_that_is_not_installed_says_how_to_get_it() -> None:
    declare(OptimizerPackage("no-such-package", "no_such_package.optim"))
    with pytest.raises(
        MissingPackageError, match=r"not installed\. Install it: pip install 'optimbuild\[no-such-package\]'"
    ):
        planned("no_such_package.Fast")
    assert "no_such_package.Fast" not in OPTIMIZERS
    with pytest.raises(UnknownNameError, match="`optimbuild list optimizers` has those of other packages"):
        planned("Fast")


def test_a_package_that_fails_to_import_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {
        "broken_package/__init__.py": "raise RuntimeError('operator torchvision::nms does not exist')  # BrokenFast",
        "broken_package-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    declare(OptimizerPackage("broken-package", "broken_package"))
    for name in ("broken_package.BrokenFast", "brokenfast"):
        with pytest.raises(
            MissingPackageError, match=r"1\.0 is installed, but .* cannot be imported: RuntimeError: .*nms"
        ):
            find_optimizer(name)
    with pytest.raises(UnknownNameError):
        find_optimizer("BrokenFaster")  # the package does not have this word


def test_a_class_that_takes_no_groups_is_refused_and_not_listed() -> None:
    with pytest.raises(RegistrationError, match=r"LOMO takes 'model' first, and not parameter groups"):
        find_optimizer("pytorch_optimizer.LOMO")
    assert "LOMO" not in PACKAGES["pytorch_optimizer"].names()


def test_without_plugins_no_package_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIMBUILD_PLUGINS", "none")
    with pytest.raises(MissingPackageError, match="OPTIMBUILD_PLUGINS=none"):
        OptimizerPackage("lion-pytorch", "lion_pytorch").get("Lion")
    assert find_without_prefix("AdamWScheduleFree") is None


def test_a_package_is_imported_only_when_a_config_names_it() -> None:
    code = """
        import sys
        from optimbuild import make_plan
        from optimbuild.registry.packages import PACKAGES
        from torch import nn

        def imported():
            return {prefix for prefix in PACKAGES if prefix in sys.modules} - {"torch"}

        make_plan({"optimizer": {"type": "adamw"}}, nn.Linear(2, 2))
        assert imported() == set(), imported()
        for name, expected in (
            ("optimi.StableAdamW", {"optimi"}),
            ("AdamWScheduleFree", {"optimi", "schedulefree", "lion_pytorch"}),  # MMEngine imports lion_pytorch
            ("no_optimizer_of_this_name", {"optimi", "schedulefree", "lion_pytorch"}),
        ):
            try:
                make_plan({"optimizer": {"type": name, "lr": 0.1}}, nn.Linear(2, 2))
            except Exception as error:
                assert "unknown optimizer" in str(error), error
            assert imported() == expected, (name, imported())
        """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "option"), [("pytorch_optimizer.ADOPT", "clip_lambda"), ("prodigyopt.Prodigy", "growth_rate")]
)
def test_a_default_that_a_config_cannot_say_is_left_to_the_class(kind: str, option: str) -> None:
    from optimbuild import build_optimizer

    model = nn.Linear(2, 2)
    config: dict[str, Any] = {"optimizer": {"type": kind, "lr": 0.1}}
    assert make_plan(config, model).groups[0].options[option] is None
    built = build_optimizer(config, model)
    theirs = find_optimizer(kind).load()(model.parameters())
    assert built.defaults.get(option) == theirs.defaults.get(option)
    assert getattr(built, option, None) == getattr(theirs, option, None)


def test_a_value_for_an_option_whose_default_no_config_can_say_counts() -> None:
    config = {"optimizer": {"type": "prodigyopt.Prodigy", "growth_rate": 1.02}}
    assert make_plan(config, nn.Linear(2, 2)).groups[0].options["growth_rate"] == 1.02
    with pytest.raises(ConfigError, match="growth"):
        make_plan({"optimizer": {"type": "prodigyopt.Prodigy", "grow_rate": 1.02}}, nn.Linear(2, 2))


def test_an_option_whose_type_admits_null_takes_null() -> None:
    class Flash(torch.optim.SGD):
        def __init__(self, params: Any, lr: float = 0.1, bits: int | None = 24, eps: float = 1e-8) -> None:
            super().__init__(params, lr)

    kind = OptimizerType("flash", Flash)
    assert kind.complete({"bits": None})["bits"] is None
    with pytest.raises(ConfigError, match="eps"):
        kind.complete({"eps": None})
