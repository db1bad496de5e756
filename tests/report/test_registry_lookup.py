"""A name that names a rule, an optimizer, a package, several of these, or nothing."""

from __future__ import annotations

import pytest

from optimbuild import ParamInfo, UnknownNameError, optimizer, rule
from optimbuild.report.registry_lookup import lines_of_name, names_of
from optimbuild.report.registry_text import entry_lines
from optimbuild.report.table import text_of

KINDS = ("rules", "optimizers")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("no_decay", "rules"), ("No_Decay", "rules"), ("adamw", "optimizers"), ("RMSprop", "optimizers")],
)
def test_a_name_of_one_thing_gives_its_lines(name: str, kind: str) -> None:
    assert lines_of_name(name, KINDS) == entry_lines(kind, name)


def test_a_name_of_two_things_gives_both() -> None:
    @rule("twofold")
    class Twofold:
        """A rule of this name."""

        def __call__(self, param: ParamInfo) -> None:
            return None

    optimizer("twofold", "torch.optim:SGD")
    text = text_of(lines_of_name("Twofold", KINDS))
    assert text.startswith("rules\n")
    assert "A rule of this name." in text.partition("\n\noptimizers\n")[0]
    assert "torch.optim:SGD" in text.partition("\n\noptimizers\n")[2]


def test_a_name_that_several_packages_have_is_told_with_the_packages() -> None:
    with pytest.raises(UnknownNameError, match=r"^'prodigy' is in 2 packages"):
        lines_of_name("prodigy", KINDS)


def test_a_name_of_nothing_is_an_error_with_close_names() -> None:
    with pytest.raises(UnknownNameError, match=r"has the name 'adamv'\. Did you mean 'Adam' or 'adamw'"):
        lines_of_name("adamv", KINDS)


def test_mmengine_lists_what_it_registers() -> None:
    text = text_of(lines_of_name("mmengine", KINDS))
    assert {"mmengine.TorchAdafactor", "mmengine.Lion"} <= set(text.replace(",", "").split())
    assert "mmengine.Optimizer" not in text.replace(",", "").split()


def test_the_names_for_completion_can_be_listed_but_for_missing_packages() -> None:
    for name in names_of("rules"):
        assert entry_lines("rules", name)
    assert {"adamw", "RMSprop", "mmengine", "timm"} <= set(names_of("optimizers"))
