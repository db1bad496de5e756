"""The expression of a range matches the numbers in it and no others."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from optimbuild.model.number_ranges import range_expression


@given(st.integers(0, 1200), st.integers(0, 1200), st.integers(0, 13_000))
def test_the_expression_of_a_range_matches_the_numbers_in_it(low, length, number):
    expression = re.compile(f"(?:{range_expression(low, low + length)})")
    assert bool(expression.fullmatch(str(number))) == (low <= number <= low + length)
    assert not expression.fullmatch(f"0{number}")
