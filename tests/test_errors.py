"""Errors share one root, carry the path of the key, and stay readable whatever they quote."""

from __future__ import annotations

import pytest

import optimbuild
from optimbuild import ConfigError, OptimBuildError, UnknownNameError
from optimbuild.messages import closest, listing, shown, suggest


def test_every_public_error_has_the_same_root():
    errors = [getattr(optimbuild, name) for name in optimbuild.__all__ if name.endswith("Error")]
    assert len(errors) > 5
    assert all(issubclass(error, OptimBuildError) for error in errors)


@pytest.mark.parametrize(
    ("path", "moved"),
    [
        ("rules[1].ratio", "TRAIN.RATIO"),
        ("rules[1].layers[0]", "TRAIN.DECAY.layers[0]"),
        ("rules[1]", "TRAIN.DECAY"),
        ("rules[10].ratio", "rules[10].ratio"),
        ("optimizer.lr", "TRAIN.BASE_LR"),
        ("optimizer.lrs", "optimizer.lrs"),
        ("", ""),
    ],
)
def test_a_path_moves_into_another_dialect_by_its_longest_beginning(path, moved):
    paths = {"rules[1]": "TRAIN.DECAY", "rules[1].ratio": "TRAIN.RATIO", "optimizer.lr": "TRAIN.BASE_LR"}
    error = UnknownNameError("must be positive", path).moved(paths)
    assert (type(error), error.path, error.message) == (UnknownNameError, moved, "must be positive")
    assert str(error) == (f"{moved}: must be positive" if moved else "must be positive")


def test_a_config_error_is_a_value_error_too():
    assert issubclass(ConfigError, ValueError)


def test_quotes_are_one_short_printable_line_whatever_they_quote():
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    for value in ("\x1b[31mred\n" * 50, "\ud800", ["x" * 1000] * 50, Broken(), 10**5000, "\u202eevil"):
        text = shown(value)
        assert text.isprintable()
        assert len(text) <= 80
    assert shown("a\nb") == r"'a\nb'"


def test_close_names_ignore_case_and_listings_say_how_many_more():
    assert closest("ADAMV", ["adamw", "sgd"]) == ["adamw"]
    assert suggest("zebra", ["adamw"]) == ""
    assert closest("x" * 10**6, ["adamw"]) == []
    assert listing(list("abc"), 2) == "a, b and 1 more"
    assert listing(list("abc"), 3) == "a, b, c"
