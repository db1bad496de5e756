"""What a plugin's tests see: a test that fails with all faults, and words about what was given wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from optimbuild import ConfigError, Edit, ParamInfo, UnknownNameError, optimizer, rule
from optimbuild.testing import check_optimizer, check_rule
from optimbuild.testing.optimizer_checks import OPTIMIZER_CHECKS
from optimbuild.testing.rule_checks import RULE_CHECKS

ROOT = Path(__file__).parents[2]
ALONE = ("other_processes_give_the_same",)


class ForOneModel:
    """Is meant for one model."""

    def __call__(self, param: ParamInfo) -> Edit | None:
        return Edit(scale={"lr": 0.5}, why="mine") if param.name.startswith("mine") else None


class Mine(nn.Module):
    """The model that it is meant for."""

    def __init__(self) -> None:
        super().__init__()
        self.mine = nn.Linear(2, 2)


def test_a_test_fails_with_every_fault_and_without_a_traceback():
    rule("for_one_model")(ForOneModel)
    with pytest.raises(pytest.fail.Exception) as failed:
        check_rule("for_one_model", leave_out=ALONE)
    assert not failed.value.pytrace
    assert str(failed.value).splitlines()[0] == "rule 'for_one_model' with {} fails 1 of 10 checks"
    assert "some_parameter_is_touched: gives no edit to any parameter of LanguageModel" in str(failed.value)


@pytest.mark.parametrize("model", [Mine, Mine()])
def test_a_rule_is_tried_with_the_models_that_are_given(model):
    made = rule("for_a_given_model", force=True)(ForOneModel)
    check_rule(made, models=[model], leave_out=ALONE)


def test_a_class_that_is_not_registered_is_an_error():
    with pytest.raises(ConfigError, match=r'Mine is not registered as a rule. Write `@rule\("my_name"\)` above it'):
        check_rule(Mine)


@pytest.mark.parametrize("check", [check_rule, check_optimizer])
def test_an_unknown_name_is_an_error_that_lists_names(check):
    with pytest.raises(UnknownNameError, match="There are: "):
        check("no_such_thing")


def test_an_unknown_check_is_an_error_that_lists_checks():
    with pytest.raises(ConfigError, match=r"there is no check 'zero_gives_same'. Did you mean 'zero_gives_the_same'\?"):
        check_optimizer("sgd", leave_out=["zero_gives_same"])


def test_what_other_processes_cannot_import_is_a_fault_that_says_so():
    class Local(ForOneModel):
        """Is defined in a function."""

    rule("local_rule")(Local)
    with pytest.raises(pytest.fail.Exception, match="other_processes_give_the_same: other processes cannot import it"):
        check_rule("local_rule", models=[Mine])


def test_an_optimizer_that_cannot_be_built_is_an_error():
    optimizer("not_built", "torch.optim:SGD", fixed={"momentum": -1.0})
    with pytest.raises(ConfigError, match=r"not_built refuses: ValueError: 'Invalid momentum value: -1.0'"):
        check_optimizer("not_built")


@pytest.mark.parametrize(("title", "checks"), [("Rules", RULE_CHECKS), ("Optimizers", OPTIMIZER_CHECKS)])
def test_the_page_has_a_row_for_each_check(title, checks):
    page = (ROOT / "docs" / "testing-a-plugin.md").read_text("utf-8")
    section = page.partition(f"## {title}\n")[2].partition("## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [check.__name__ for check in checks]


def test_without_pytest_the_import_says_what_to_install():
    script = "import sys; sys.modules['pytest'] = None\nfrom optimbuild.testing import check_rule"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", timeout=120, env={**os.environ}
    )
    assert "optimbuild.testing needs pytest. Install it: pip install pytest" in done.stderr
