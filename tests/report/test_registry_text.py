"""The types of options in words."""

from __future__ import annotations

import pytest

from optimbuild import ConfigError, MissingPackageError, UnknownNameError, optimizer
from optimbuild.config.schema import NUMERIC
from optimbuild.report.registry_text import entry_lines, list_lines, type_text
from optimbuild.report.table import text_of


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({}, "anything"),
        ({"type": "boolean"}, "true or false"),
        ({"type": "array", "items": {"type": "boolean"}}, "list of true or false"),
        ({"type": "integer", "minimum": 0}, "whole number ≥ 0"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, "number in (0, 1]"),
        ({"anyOf": [{"type": "number"}, {"type": "string", "pattern": NUMERIC}]}, "number"),
        ({"oneOf": [{"const": True}, {"type": "null"}]}, "true or null"),
        ({"enum": ["a", "b"]}, "a or b"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "list of (a or b)"),
        ({"type": "array", "prefixItems": [{"type": "number"}, {"type": "string"}]}, "[number, string]"),
        ({"$ref": "#/$defs/Entry"}, "mapping with lr, pattern"),
        ({"$ref": "#/$defs/Word"}, "string"),
    ],
)
def test_a_type_reads_as_words(schema, text):
    definitions = {"Entry": {"type": "object", "properties": {"lr": {}, "pattern": {}}}, "Word": {"type": "string"}}
    assert type_text(schema, definitions) == text


def test_an_optimizer_is_listed_also_where_its_package_is_missing():
    optimizer("not_installed", "no_such_package:Optimizer", defaults={"lr": 0.1})
    assert "no_such_package:Optimizer; lr 0.1 unless told otherwise" in text_of(list_lines(("optimizers",)))
    with pytest.raises(MissingPackageError, match="no_such_package"):
        entry_lines("optimizers", "not_installed")


def test_an_optimizer_registered_as_a_class_is_shown_by_its_location():
    optimizer("as_class", Quiet)
    text = text_of(entry_lines("optimizers", "as_class"))
    assert f"{__name__}:Quiet" in text
    assert "A class with a docstring." in text
    assert "lr  number ≥ 0; required" in text


class Quiet:
    """A class with a docstring."""

    def __init__(self, params: object, lr: float) -> None:
        pass


@pytest.mark.parametrize("kind", ["rules", "optimizers"])
def test_an_unknown_name_is_an_error(kind):
    with pytest.raises(UnknownNameError):
        entry_lines(kind, "nothing_of_this_name")
    assert issubclass(UnknownNameError, ConfigError)
