"""The registered readings of published constructors as text."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from optimbuild import RegistrationError, Translation, UnknownNameError, constructor
from optimbuild.cli import main
from optimbuild.config.dialects.published_keys import reader_of
from optimbuild.report.constructor_text import constructor_lines, constructors_lines
from optimbuild.report.table import text_of


class Keys(BaseModel):
    """What the constructor reads."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    steep_rate: float = 0.5
    """LR factor of the steep part."""


@constructor("TestListedConstructor", keys=Keys, force=True)
def listed(published: Any) -> Translation:
    """Read ``steep_rate``."""
    return Translation()


def test_each_constructor_is_listed_with_a_summary_and_its_place() -> None:
    lines = [" ".join(line.split()) for line in text_of(constructors_lines()).splitlines()]
    assert "TSMOptimWrapperConstructor Read the constructor of TSM." in lines
    assert [line for line in lines if line.startswith("optimbuild.config.constructors.yolo:")]
    assert "TestListedConstructor Read `steep_rate`." in lines


def test_a_constructor_is_shown_with_its_docstring_and_keys() -> None:
    line = inspect.getsourcelines(listed)[1]
    assert [" ".join(text.split()) for text in text_of(constructor_lines("TestListedConstructor")).splitlines()] == [
        "TestListedConstructor",
        f"{__name__}:{line}",
        f"{__file__}:{line}",
        "",
        "Read `steep_rate`.",
        "",
        "keys of paramwise_cfg",
        "steep_rate number; default 0.5",
        "LR factor of the steep part.",
    ]
    assert "keys of paramwise_cfg" not in text_of(constructor_lines("SwinOptimWrapperConstructor"))


def test_the_command_line_lists_constructors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "constructors", "CustomLayerDecayOptimizerConstructor"]) == 0
    assert "layer_decay_rate   number in (0, 1]; required" in capsys.readouterr().out
    assert main(["list", "constructors"]) == 0
    assert "rules\n" not in (only := capsys.readouterr().out)
    assert main(["list"]) == 0
    assert capsys.readouterr().out.endswith(f"\n\n{only}")
    assert main(["list", "constructor"]) == 2
    assert "Did you mean 'constructors'" in capsys.readouterr().err


def test_an_unknown_constructor_is_an_error_with_close_names() -> None:
    with pytest.raises(UnknownNameError, match="TSMOptimWrapperConstructor"):
        constructor_lines("TSMOptimWraperConstructor")


def test_a_key_that_a_project_declares_is_known_to_hints() -> None:
    assert reader_of("steep_rate", ["steep_rate"]).startswith(" TestListedConstructor reads it")
    with pytest.raises(RegistrationError, match="`keys` is a pydantic model"):
        constructor("TestOther", keys=["steep_rate"])  # type: ignore[arg-type]
