"""Families of names: what is a number in a name, and who is where."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from optimbuild.report.families import NUMBER, Families

SEGMENTS = ["0", "1", "7", "10", "12", "01", "00", "999999999", "1000000000", "w1", "w2", "1w", "w10", "٣", "a", ""]
NAMES = st.lists(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4).map(".".join), min_size=1, unique=True)


def is_number(segment: str) -> bool:
    return segment.isascii() and segment.isdecimal() and len(segment) < 10 and str(int(segment)) == segment


def spelled(families: Families, name: str) -> tuple[Sequence[str], tuple[int, ...]]:
    family, numbers, _ = families.place(name)
    return ["#" if branch.numbered else branch.segment for branch in family.path()], numbers


@given(NAMES)
def test_only_whole_segments_written_as_numbers_are_numbers(names):
    families = Families(names)
    for position, name in enumerate(names):
        segments = name.split(".")
        path, numbers = ["#" if is_number(s) else s for s in segments], tuple(int(s) for s in segments if is_number(s))
        assert spelled(families, name) == (path, numbers)
        assert families.place(name)[2] == position
    assert families.root.total() == len(names) == len(families)


@given(NAMES)
def test_every_family_knows_its_names(names):
    families = Families(names)
    found: list[int] = []
    for family in families.with_names:
        members = family.members
        assert [families.place(names[position])[1] for position in members.positions] == list(members)
        assert len(members) == len(list(members))
        assert members[-1] == list(members)[-1]
        assert [sorted(set(column)) for column in zip(*members, strict=True)] == family.values()
        assert not family.places or family.own() == dict.fromkeys(members, 1)
        found += members.positions
    assert sorted(found) == list(range(len(names)))


def test_aliases_are_members_whose_positions_follow_those_of_all_names():
    families = Families(["01", "0", "embed"], {"embed": ["10", "tied"]})
    found = {family.segment: family.members for family in families.with_names}
    assert {segment: dict(zip(members.positions, members, strict=True)) for segment, members in found.items()} == {
        "01": {0: ()},
        NUMBER: {1: (0,), 3: (10,)},
        "embed": {2: ()},
        "tied": {4: ()},
    }
    family, numbers, position = families.place("embed")
    assert [(place[1], place[2]) for place in families.twins[family][numbers]] == [((10,), 2), ((), 2)]
    assert position == 2
    assert families.root.total() == 5


def test_two_stars_do_not_match_a_name_that_begins_with_nothing():
    assert Families(["a.b", "b"]).are_plain
    assert not Families(["a.b", ".b"]).are_plain
    assert not Families(["a.b", ""]).are_plain
