"""The registries: lookup, clashes, origins, plugins, and names that must never import anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import mmengine.registry
import pytest
import torch

from optimbuild import (
    OPTIMIZERS,
    RULES,
    Edit,
    MissingPackageError,
    OptimBuildError,
    ParamInfo,
    RegistrationError,
    UnknownNameError,
    build_optimizer,
    make_plan,
    optimizer,
    rule,
)
from optimbuild.registry import origin
from tests.models import Net


@pytest.fixture(autouse=True)
def _clean():
    """Forget what a test registered."""
    RULES.names()
    OPTIMIZERS.get("RMSprop")  # now everything is registered that is not a test's own
    before = dict(RULES._module_dict), dict(OPTIMIZERS._module_dict), dict(OPTIMIZERS.parent._module_dict)
    yield
    for registry, names in zip((RULES, OPTIMIZERS, OPTIMIZERS.parent), before, strict=True):
        for name in set(registry._module_dict) - set(names):
            del registry._module_dict[name]


def test_they_are_mmengine_registries_of_our_scope():
    assert isinstance(RULES, mmengine.registry.Registry)
    assert OPTIMIZERS.scope == RULES.scope == "optimbuild"
    assert OPTIMIZERS.parent is mmengine.registry.OPTIMIZERS


@pytest.mark.parametrize("name", ["adamw", "ADAMW", "AdamW", "SGD", "Sgd_Linear_Probing"])
def test_our_names_ignore_case(name):
    assert OPTIMIZERS.get(name) is OPTIMIZERS.get(name.lower())
    assert name in OPTIMIZERS


def test_mmengine_names_reach_torch_optim_and_what_users_registered_there():
    assert OPTIMIZERS.get("RMSprop") is torch.optim.RMSprop
    assert OPTIMIZERS.get("mmengine.SGD") is torch.optim.SGD

    @mmengine.registry.OPTIMIZERS.register_module()
    class UsersOwn(torch.optim.SGD):
        def __init__(self, params: Any, lr: float, strength: float = 0.5) -> None:
            super().__init__(params, lr=lr)

    assert OPTIMIZERS.get("UsersOwn") is UsersOwn
    plan = make_plan({"optimizer": {"type": "UsersOwn", "lr": "1e-2"}}, Net())
    assert dict(plan["head.bias"].options) == {"lr": 0.01, "strength": 0.5}


@pytest.mark.parametrize("registry", [RULES, OPTIMIZERS])
def test_a_lookup_that_misses_suggests_and_lists(registry):
    wrong = registry.names()[0] + "x"
    with pytest.raises(UnknownNameError) as found:
        registry.get(wrong)
    assert f"Did you mean {registry.names()[0]!r}" in str(found.value)
    assert all(name in str(found.value) for name in registry.names())


@pytest.mark.parametrize(
    "name", ["os.system", "torch.optim.SGD", "subprocess.Popen", "antigravity.x", "tests.trap.Trap", "", "."]
)
def test_a_dotted_path_is_never_imported(name):
    for registry in (RULES, OPTIMIZERS):
        with pytest.raises(UnknownNameError):
            registry.get(name)
        assert name not in registry
    assert "antigravity" not in sys.modules
    assert "tests.trap" not in sys.modules


def test_a_name_registered_twice_is_an_error_that_names_both_owners():
    @rule("twice")
    class One:
        def __call__(self, param: ParamInfo) -> Edit | None:
            return None

    RULES.register_module(name="twice", module=One)
    with pytest.raises(RegistrationError) as found:

        @rule("Twice")
        class Two:
            def __call__(self, param: ParamInfo) -> Edit | None:
                return None

    assert str(found.value).count("test_registry.py:") == 2
    assert RULES.get("twice") is One

    first = optimizer("opt_twice", "torch.optim:Adam")
    assert optimizer("opt_twice", "torch.optim:Adam") == first
    with pytest.raises(RegistrationError, match=r"opt_twice.*test_registry\.py:\d+.*test_registry\.py:\d+"):
        optimizer("opt_twice", "torch.optim:SGD")
    optimizer("opt_twice", "torch.optim:SGD", force=True)


def test_every_entry_of_ours_says_where_it_comes_from():
    for registry in (RULES, OPTIMIZERS):
        origins = {name: registry.origin(name) for name in registry.names()}
        ours = {name: found for name, found in origins.items() if not found.module.startswith("tests.")}
        assert ours
        for name, found in ours.items():
            assert found.module.startswith("optimbuild.")
            assert Path(found.file).exists()
            text = Path(found.file).read_text().splitlines()[found.line - 1 : found.line + 2]
            assert any(name in line for line in text)
    assert origin(torch.optim.SGD).package.startswith("torch ")


@pytest.mark.parametrize("thing", [3, lambda param: None, object()])
def test_what_is_no_rule_is_refused(thing):
    with pytest.raises(RegistrationError, match="must be a class"):
        rule("no_rule")(thing)


@pytest.mark.parametrize("name", ["", "a.b", "x\ny"])
def test_a_name_that_no_config_could_say_is_refused(name):
    with pytest.raises(RegistrationError, match="cannot name"):
        optimizer(name, "torch.optim:SGD")


@pytest.mark.parametrize("target", ["", "torch.optim", "torch.optim:", ":SGD"])
def test_a_target_without_module_or_class_is_refused(target):
    with pytest.raises(RegistrationError, match=r"package\.module:Class"):
        optimizer("wrong_target", target)


def test_a_missing_package_or_class_is_an_error_that_names_it():
    optimizer("from_afar", "no_such_package.optim:Fast")
    with pytest.raises(MissingPackageError, match="pip install no-such-package"):
        make_plan({"optimizer": {"type": "from_afar"}}, Net())
    optimizer("no_class", "torch.optim:NoSuchClass")
    with pytest.raises(OptimBuildError, match="has no 'NoSuchClass'"):
        make_plan({"optimizer": {"type": "no_class"}}, Net())


def test_a_class_can_be_decorated_and_a_plainly_registered_rule_works():
    @optimizer("decorated", defaults={"momentum": 0.5})
    class Decorated(torch.optim.SGD):
        pass

    built = build_optimizer({"optimizer": {"type": "decorated", "lr": 0.1}}, Net())
    assert isinstance(built, Decorated)
    assert built.param_groups[0]["momentum"] == 0.5

    @RULES.register_module()
    class PlainHalf:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        def __call__(self, param: ParamInfo) -> Edit:
            return Edit(scale={"lr": self.factor}, why="plain")

    rules = [{"type": "PlainHalf", "factor": 0.5}]
    assert make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": rules}, Net())["head.bias"].lr == 0.5
    with pytest.raises(OptimBuildError, match=r"rules\[0\]: rule 'PlainHalf' refuses its options"):
        make_plan({"optimizer": {"type": "adamw"}, "rules": [{"type": "PlainHalf", "wrong": 1}]}, Net())


def test_mmengine_builds_our_optimizers_by_their_scoped_name():
    built = mmengine.registry.OPTIMIZERS.build(
        {"type": "optimbuild.sgd", "params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1}
    )
    assert built.param_groups[0]["nesterov"] is True


def _run(code: str, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(Path.cwd())]), **environment}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """Two installed packages: one with a rule and an optimizer, one that fails to import."""
    (tmp_path / "good_plugin.py").write_text(
        textwrap.dedent(
            """
            from optimbuild import Edit, optimizer, rule

            @rule("from_plugin")
            class FromPlugin:
                factor: float = 0.25
                def __call__(self, param):
                    return Edit(scale={"lr": self.factor}, why="plugin")

            optimizer("plugged", "torch.optim:Adam")
            """
        )
    )
    (tmp_path / "bad_plugin.py").write_text("raise SystemExit('out of order')")
    for package in ("good", "bad"):
        info = tmp_path / f"{package}_dist-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}-dist\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[optimbuild.plugins]\n{package} = {package}_plugin\n")
        (info / "top_level.txt").write_text(f"{package}_plugin\n")
        (info / "RECORD").write_text(f"{package}_plugin.py,,\n")
    return tmp_path


USE = """
    import json, sys, warnings
    from optimbuild import Inventory, OptimBuildError, ParamInfo, RULES, make_plan
    model = Inventory((ParamInfo("w", (2, 2)),))
    def lr(rule):
        return make_plan({"optimizer": {"type": "adamw", "lr": 1.0}, "rules": [rule]}, model)["w"].lr
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        early = "good_plugin" in sys.modules
        lr({"type": "match", "table": {"w": {"lr_mult": 1}}})
        known = "good_plugin" in sys.modules
        try:
            found = lr({"type": "from_plugin"})
            package = RULES.origin("from_plugin").package
        except OptimBuildError as error:
            found, package = str(error), ""
    print(json.dumps([early, known, found, package, [str(w.message) for w in caught]]))
"""


def test_plugins_load_at_the_first_miss_and_a_broken_one_is_a_warning(plugins):
    done = _run(USE, plugins)
    assert done.returncode == 0, done.stderr
    early, known, found, package, warnings = json.loads(done.stdout)
    assert (early, known, found, package) == (False, False, 0.25, "good-dist 1.2")
    (warning,) = warnings
    assert "bad-dist 1.2" in warning
    assert "SystemExit: out of order" in warning


def test_plugins_can_be_turned_off(plugins):
    done = _run(USE, plugins, OPTIMBUILD_PLUGINS="none")
    assert done.returncode == 0, done.stderr
    _, _, found, _, warnings = json.loads(done.stdout)
    assert "unknown rule 'from_plugin'" in found
    assert warnings == []


def test_importing_optimbuild_imports_nothing_else():
    code = "import sys, optimbuild; print([m for m in ('torch', 'mmengine', 'pydantic', 'numpy') if m in sys.modules])"
    done = _run(code, Path())
    assert done.stdout.strip() == "[]", done.stderr


def test_planning_with_our_optimizers_imports_no_torch():
    code = """
        import sys
        from optimbuild import Inventory, ParamInfo, make_plan
        model = Inventory((ParamInfo("w", (2, 2)), ParamInfo("b", (2,))))
        for kind in ("adamw", "sgd", "sgd_linear_probing"):
            make_plan({"optimizer": {"type": kind}, "rules": [{"type": "no_decay"}]}, model).to_json()
        print("torch" in sys.modules)
    """
    done = _run(code, Path())
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("registration", "ours"),
    [('optimizer("AdamW", "torch.optim:AdamW"', "adamw"), ('rule("freeze"', "freeze")],
)
def test_a_clash_with_a_name_of_ours_is_found_at_the_registration(registration, ours, force):
    code = f"""
        from optimbuild import OPTIMIZERS, RULES, OptimBuildError, RegistrationError, optimizer, rule
        class Mine:
            def __call__(self, param):
                return None
        try:
            made = {registration}, force={force})
            made(Mine) if "rule" in {registration!r} else None
        except RegistrationError as error:
            print("refused:", error)
        print(len(RULES.names()), len(OPTIMIZERS.names()), RULES.get("no_decay").__name__)
    """
    done = _run(code, Path())
    assert done.returncode == 0, done.stderr
    assert ("refused:" in done.stdout) == (not force)
    assert force or f"optimbuild.{'rules' if ours == 'freeze' else 'optimizers'}.{ours}" in done.stdout
    assert "NoDecay" in done.stdout


def test_a_rule_class_may_be_registered_again_under_another_name():
    @rule("first_name")
    class Rule:
        factor: float = 1.0

        def __call__(self, param: ParamInfo) -> Edit | None:
            return None

    assert rule("first_name")(Rule) is Rule
    assert rule("second_name")(Rule) is Rule
    assert RULES.get("second_name") is RULES.get("first_name")
