"""Values are plain, finite and small; a complaint names the path of the key and what would be right."""

from __future__ import annotations

import datetime as dt
from collections import OrderedDict
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from pydantic.dataclasses import dataclass
from yacs.config import CfgNode

from optimbuild import ConfigError
from optimbuild.registry import find_optimizer
from optimbuild.values import (
    Index,
    Keyword,
    NonNegative,
    Number,
    Positive,
    Ratio,
    Share,
    finite,
    join,
    plain,
    validated,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
DATA = st.recursive(SCALARS, lambda below: st.lists(below) | st.dictionaries(st.text(), below), max_leaves=20)


@given(DATA)
def test_plain_data_keeps_its_values_and_lists_become_tuples(data):
    def frozen(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(frozen(item) for item in value)
        return {key: frozen(item) for key, item in value.items()} if isinstance(value, dict) else value

    copy = plain(data)
    assert copy == frozen(data)
    assert repr(plain(copy)) == repr(copy)


def test_subclasses_of_plain_types_become_the_types_themselves():
    class Name(str):
        __slots__ = ()

    copy = plain({"lr": np.float64(0.5), "name": Name("x"), "node": CfgNode({"a": [1]}), 3: OrderedDict(b=True)})
    assert copy == {"lr": 0.5, "name": "x", "node": {"a": (1,)}, "3": {"b": True}}
    assert [type(value) for value in copy.values()] == [float, str, dict, dict]


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def bomb(levels: int) -> Any:
    value: Any = ["x"] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"^a\[1\]\.b: must be a finite number, not nan$"),
        (-float("inf"), r"^a\[1\]\.b: must be a finite number, not -inf$"),
        (2**65, r"^a\[1\]\.b: must be a number of at most 64 bits, not one of 66$"),
        (1 << 20_000, r"^a\[1\]\.b: must be a number of at most 64 bits"),
        (b"x", r"^a\[1\]\.b: must be plain data, not b'x' of type bytes$"),
        ({1, 2}, r"^a\[1\]\.b: must be plain data, not \{1, 2\} of type set$"),
        (print, r"^a\[1\]\.b: must be plain data, .* of type builtin_function_or_method$"),
        (dt.date(2020, 1, 1), r"^a\[1\]\.b: must be plain data, .* of type date$"),
        (1j, r"of type complex$"),
        ({None: 1}, r"^a\[1\]\.b: keys must be names, not None$"),
        ({True: 1}, r"^a\[1\]\.b: keys must be names, not True$"),
        ({1.5: 1}, r"^a\[1\]\.b: keys must be names, not 1\.5$"),
        ({1: 1, "1": 2}, r"^a\[1\]\.b: key '1' stands twice$"),
        ({1 << 20_000: 1}, r"^a\[1\]\.b: must be a number of at most 64 bits"),
        (deep(100), r": nested deeper than 64 levels$"),
        (deep(900), r": nested deeper than 64 levels$"),
        (bomb(9), r"^holds more than 10000 values$"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_plain_data_is_refused_with_its_place(value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        plain({"a": [0, {"b": value}]})
    assert len(str(caught.value)) < 400


def test_a_path_quotes_keys_that_are_no_identifiers():
    assert join("rules", 1, "ratio") == "rules[1].ratio"
    assert join("", "optimizer", "lr") == "optimizer.lr"
    assert join("table", "backbone.norm", "lr") == "table['backbone.norm'].lr"
    assert len(join("a", "b" * 1000)) < 100


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: Index = 0


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: Number = 0.0
    inner: Inner | None = None
    either: Annotated[int, "a label"] | Inner | list[Inner] = 0
    pair: tuple[Number, Number] = (0.0, 0.0)
    words: dict[str, Keyword] = {}


KNOWN = "Known: number, inner, either, pair, words."


@dataclass(config=ConfigDict(extra="forbid"))
class Options:
    ratio: Ratio
    flag: bool = False


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (Outer, 3, "at: must be a mapping (given: 3)"),
        (Outer, {"number": "x"}, "at.number: must be a number (given: 'x')"),
        (Outer, {"number": True}, "at.number: must be a number, not a truth value (given: True)"),
        (Outer, {"number": "nan"}, "at.number: must be a finite number (given: 'nan')"),
        (Outer, {"nomber": 1}, "at: unknown key 'nomber'. Did you mean 'number'? " + KNOWN),
        (Outer, {"a-b[0]": 1}, "at: unknown key 'a-b[0]'. " + KNOWN),
        (Outer, {"inner": {"dept": 1}}, "at.inner: unknown key 'dept'. Did you mean 'depth'? Known: depth."),
        (Outer, {"inner": {"depth": 1.5}}, "at.inner.depth: must be a whole number (given: 1.5)"),
        (Outer, {"inner": {"depth": -1}}, "at.inner.depth: must be greater than or equal to 0 (given: -1)"),
        (Outer, {"either": ["x"]}, "at.either: must be a whole number (given: ['x'])"),
        (Outer, {"pair": (1,)}, "at.pair: needs more than 1 item (given: (1,))"),
        (Outer, {"pair": "ab"}, "at.pair: must be a list (given: 'ab')"),
        (Outer, {"words": {"a.b": 1}}, "at.words['a.b']: must be a string (given: 1)"),
        (Options, {}, "at.ratio: is required"),
        (Options, {"ratio": 0}, "at.ratio: must be greater than 0 (given: 0)"),
        (Options, {"ratio": 1.1}, "at.ratio: must be less than or equal to 1 (given: 1.1)"),
        (Options, {"ratio": 1, "flag": "maybe"}, "at.flag: must be true or false (given: 'maybe')"),
        (Options, {"ratio": 1, "flog": True}, "at: unknown key 'flog'. Did you mean 'flag'? Known: ratio, flag."),
    ],
)  # fmt: skip
def test_a_complaint_names_path_and_value_and_what_would_be_right(schema, value, message):
    with pytest.raises(ConfigError) as caught:
        validated(schema, value, "at")
    assert str(caught.value) == message


def test_a_thousand_mistakes_make_a_short_message():
    with pytest.raises(ConfigError) as caught:
        validated(Outer, {"words": dict.fromkeys(map(str, range(1000)), "")})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("kind", [Number, NonNegative, Positive, Ratio, Share])
def test_numbers_may_be_written_as_yaml_reads_them(kind):
    assert validated(kind, "1e-3") == 1e-3


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (Number, [-1, 0.5], [float("inf"), float("nan"), True, None, "x", [1]]),
        (NonNegative, [0, 1e30], [-1e-30, float("inf")]),
        (Positive, [1e-30], [0, -1]),
        (Ratio, [1, 1e-9], [0, 1.0000001]),
        (Share, [0, 1], [-0.1, 1.1]),
        (Index, [0, "3", 2.0], [-1, 1.5, True, "x"]),
    ],
)
def test_a_number_of_the_wrong_kind_is_refused(kind, right, wrong):
    for value in right:
        validated(kind, value)
    for value in wrong:
        with pytest.raises(ConfigError):
            validated(kind, value)


@given(st.integers() | st.floats() | st.booleans() | st.text())
def test_only_real_finite_numbers_of_64_bits_are_finite(value):
    is_number = type(value) in (int, float)
    expected = (
        is_number and value == value and (abs(value) < 2**64 if type(value) is int else abs(value) != float("inf"))
    )
    assert finite(value) == expected


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ([], "optimizer.betas: needs more than 0 items"),
        ([0.9], "optimizer.betas: needs more than 1 item"),
        ([0.9, 0.9, 0.9], "optimizer.betas: must have at most 2 items, not 3"),
    ],
)
def test_a_list_of_another_length_is_told_as_one(betas, message):
    with pytest.raises(ConfigError) as caught:
        find_optimizer("adamw").complete({"betas": betas})
    assert str(caught.value).startswith(message)
