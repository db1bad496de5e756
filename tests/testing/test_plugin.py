"""check-plugin: each rule and optimizer of a package, one line for each, and an exit status."""

from __future__ import annotations

import pytest

from optimbuild.cli import main
from optimbuild.plugin_template import write_plugin
from tests.plugin_template.installed import pretend_to_install


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys):
    """Write a plugin, install it under a name of its own, change a file of it, and check it."""

    def check(name, *arguments, of=None, change=lambda text: text, file="rules.py"):
        write_plugin(name, tmp_path)
        module = tmp_path / name / name / file
        module.write_text(change(module.read_text("utf-8")), "utf-8")
        for folder in pretend_to_install(tmp_path / name, tmp_path / "site" / name):
            monkeypatch.syspath_prepend(folder)
        status = main(["check-plugin", of or name, *arguments])
        return status, capsys.readouterr()

    return check


def test_a_package_without_faults_has_a_line_for_all_it_registers(checked):
    status, printed = checked("kit_whole")
    assert (status, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "rule 'kit_whole_embedding_lr' with {'factor': 0.1} passes 11 checks",
        "optimizer 'kit_whole_signum' with {'lr': 0.01} passes 13 checks",
    ]


def test_a_fault_is_told_with_its_check_and_the_status_is_1(checked):
    status, printed = checked("kit_faulty", change=lambda text: text.replace('why="embedding"', 'why=""'))
    assert status == 1
    rule, fault, optimizer = printed.out.splitlines()
    assert rule == "rule 'kit_faulty_embedding_lr' with {'factor': 0.1} fails 1 of 11 checks"
    assert fault.startswith("  edits_can_be_planned: LanguageModel: the edit for embed.weight gives no reason")
    assert optimizer.endswith("passes 13 checks")


def test_a_check_can_be_left_out(checked):
    status, printed = checked(
        "kit_less",
        *("--leave-out", "zero_gives_the_same", "--leave-out", "edits_can_be_planned"),
        change=lambda text: text.replace('why="embedding"', 'why=""'),
    )
    assert status == 0
    assert [line.rpartition(" passes ")[2] for line in printed.out.splitlines()] == ["10 checks", "12 checks"]


def test_an_unknown_check_is_an_error_with_the_closest_name(checked):
    status, printed = checked("kit_unknown", "--leave-out", "zero")
    assert (status, printed.out) == (2, "")
    assert "there is no check 'zero'. There are: nothing_is_changed" in printed.err


def test_a_rule_without_options_to_try_is_a_fault(checked):
    status, printed = checked("kit_bare", change=lambda text: text.replace("``{type", "{type").replace("}``", "}"))
    assert status == 1
    assert "can_be_checked: rule 'kit_bare_embedding_lr' needs options: factor. Give some to check_rule" in printed.out


def test_a_package_that_registers_nothing_is_an_error(capsys):
    assert main(["check-plugin", "rich"]) == 2
    assert "'rich' registers no rule and no optimizer. Declare its module as an entry point" in capsys.readouterr().err


def test_a_package_that_does_not_exist_is_an_error(capsys):
    assert main(["check-plugin", "no_such_plugin"]) == 2
    assert "there is no package 'no_such_plugin'." in capsys.readouterr().err
