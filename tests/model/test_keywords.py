"""Keywords are parts of names, and the first one counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from optimbuild.model.keywords import first_keywords, keyword_in


def test_keywords_match_pieces_of_a_name_and_the_first_one_counts():
    assert keyword_in("levels.0.dcn.offset.weight", ("mask", "set.w", "offset")) == "set.w"
    assert keyword_in("a.weight", ("mask",)) is None


@given(st.lists(st.text("ab.", max_size=6)), st.lists(st.text("ab.", min_size=1, max_size=3)))
def test_the_keywords_of_many_names_are_those_of_each(names, keywords):
    assert first_keywords(names, keywords) == [keyword_in(name, keywords) for name in names]
