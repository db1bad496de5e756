"""A column is a mapping from names to values, and the same in the order of all parameters."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimbuild.model._columns import Column

VALUES = [None, "a", "b", ["c"]]
COLUMNS = st.lists(st.sampled_from(VALUES), max_size=8)


def _names(count: int) -> list[str]:
    return [f"p{i}" for i in range(count)]


@given(COLUMNS)
def test_a_column_is_the_mapping_of_what_has_a_value(values):
    names = _names(len(values))
    column = Column.of(names, values)
    expected = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    assert column == expected
    assert dict(column.items()) == expected
    assert list(column) == list(expected)
    assert (len(column), bool(column)) == (len(expected), bool(expected))
    assert column.complete() == dict(zip(names, values, strict=True))
    assert repr(column) == repr(expected)


@given(COLUMNS)
def test_parameters_of_one_value_share_its_number_and_none_is_zero(values):
    column = Column.of(_names(len(values)), values)
    assert column.table[0] is None
    assert [column.table[number] for number in column.numbers] == values
    assert column.distinct == list({id(v): v for v in values if v is not None}.values())
    assert len(set(column.numbers)) == len(set(map(id, values)))


def test_equal_values_that_are_not_the_same_stay_apart():
    first, second = ["x"], ["x"]
    assert Column.of(["a", "b", "c"], [first, second, first]).numbers == [1, 2, 1]


def test_a_name_without_a_value_is_not_in_it():
    column = Column(("a", "b"), [0, 1], [None, "x"])
    assert "a" not in column
    assert column.get("a") is None
    assert column["b"] == "x"
    with pytest.raises(KeyError):
        column["a"]


def test_a_column_can_be_copied_and_pickled():
    column = Column(("a", "b"), [0, 1], [None, "x"])
    assert pickle.loads(pickle.dumps(column)) == copy.deepcopy(column) == column


@pytest.mark.parametrize(
    ("numbers", "table"),
    [([0], [None]), ([0, 1], [None]), ([0, -1], [None, "x"]), ([0, 1], ["y", "x"]), ([0, 0], [])],
)
def test_a_column_that_does_not_fit_its_table_says_so(numbers, table):
    assert not Column(("a", "b"), numbers, table).fits
    assert Column(("a", "b"), [0, 1], [None, "x"]).fits
