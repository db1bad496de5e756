"""Rules are applied with their options checked; what touches nothing, or only what is frozen, is said."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from pydantic import PositiveFloat

from optimbuild import (
    RULES,
    ConfigError,
    Edit,
    Edits,
    Inventory,
    ModelError,
    ParamInfo,
    RuleError,
    UnknownNameError,
    make_plan,
    rule,
)
from tests.models import Net
from tests.wishes import BASE, MODEL, always, on_a, rules_that

NET = Inventory(
    (
        ParamInfo("stem.weight", (2, 2)),
        ParamInfo("blocks.0.weight", (2, 2), trainable=False),
        ParamInfo("blocks.1.weight", (2, 2)),
        ParamInfo("head.weight", (2, 2), aliases=("stem.twin",)),
        ParamInfo("head.bias", (2,)),
    ),
    model="Net",
)


def plan(*rules: dict[str, Any], model: Inventory = NET, **more: Any) -> Any:
    return make_plan({"optimizer": BASE, "rules": list(rules), **more}, model)


# --- options ---------------------------------------------------------------------------------


@rule("scaled_by")
class ScaledBy:
    factor: PositiveFloat = 0.5
    names: tuple[str, ...] = ()

    def __call__(self, param: ParamInfo) -> Edit | None:
        return Edit(scale={"lr": self.factor}) if not self.names or param.name in self.names else None


@pytest.fixture(autouse=True)
def _registered():
    RULES.register_module(name="scaled_by", module=ScaledBy, force=True)


def test_options_are_checked_and_coerced_from_the_types_of_the_fields():
    assert plan({"type": "Scaled_By", "factor": "0.25"})["head.bias"].lr == 0.125
    with pytest.raises(ConfigError, match=r"^rules\[1\]\.factor: must be greater than 0 \(given: -1\)$"):
        plan({"type": "scaled_by"}, {"type": "scaled_by", "factor": -1})
    with pytest.raises(ConfigError, match=r"^rules\[0\]: unknown key 'factr'\. Did you mean 'factor'\?"):
        plan({"type": "scaled_by", "factr": 1})


def test_an_unknown_rule_is_named_by_its_path_with_the_closest_ones():
    with pytest.raises(UnknownNameError, match=r"^rules\[0\]\.type: unknown rule 'no_decy'. Did you mean 'no_decay'\?"):
        plan({"type": "no_decy"})
    with pytest.raises(UnknownNameError, match=r"'adamw' is an optimizer: it belongs under `optimizer`"):
        plan({"type": "adamw"})
    with pytest.raises(UnknownNameError, match=r"^rules\[0\]\.type: .*a dotted path is never imported"):
        plan({"type": "os.system", "command": "true"})


# --- rules that fail --------------------------------------------------------------------------


def raising(*arguments: Any) -> Any:
    raise ZeroDivisionError("the \x1b[31mrule\x1b[0m is broken")


class RaisesInBind:
    bind = raising


class RaisesInInit:
    def __init__(self) -> None:
        raising()

    __call__ = raising


class RaisesOurs:
    def bind(self, inventory: Inventory) -> Any:
        raise ConfigError("must be odd", "number")


class BindsNothing:
    def bind(self, inventory: Inventory) -> Any:
        return None


class Strange:
    def bind(self, inventory: Inventory) -> Any:
        edits = Edits(inventory)
        edits.give([ParamInfo("nowhere.weight", ())], Edit())
        return edits


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (RaisesInBind, r"^rules\[0\]: rule 'failing' raised ZeroDivisionError: .*\\x1b\[31mrule"),
        (RaisesInInit, r"^rules\[0\]: rule 'failing' refuses its options: ZeroDivisionError"),
        (RaisesOurs, r"^rules\[0\]\.number: must be odd$"),
        (BindsNothing, r"^rules\[0\]: bind\(model\) of rule 'failing' must return the Edits that it made, not None"),
        (Strange, r"^rules\[0\]: has edits for 'nowhere\.weight', which names no parameter$"),
    ],
)
def test_a_rule_that_fails_is_an_error_at_its_path(cls, message):
    RULES.register_module(name="failing", module=cls, force=True)
    with pytest.raises(ConfigError, match=message) as caught:
        plan({"type": "failing"})
    assert str(caught.value).isprintable()


def test_a_rule_that_raises_for_a_parameter_is_an_error_at_its_path():
    with pytest.raises(ConfigError, match=r"^rules\[1\]: rule 'wish_1' raised ZeroDivisionError") as caught:
        make_plan(rules_that(always(Edit()), raising), MODEL)
    line = raising.__code__.co_firstlineno + 1
    assert str(caught.value).endswith(f"({__file__}:{line}, for the parameter '{MODEL.names[0]}')")
    assert isinstance(caught.value, RuleError)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_an_error_of_ours_that_a_rule_raises_is_kept():
    def asks(param: ParamInfo) -> Any:
        raise ModelError("no such thing")

    with pytest.raises(ModelError, match=r"^no such thing$"):
        make_plan(rules_that(asks), MODEL)


# --- aliases ----------------------------------------------------------------------------------


def test_a_rule_is_asked_for_aliases_where_it_wants_nothing_for_the_name():
    asked: list[str] = []

    def twin(param: ParamInfo) -> Edit | None:
        asked.append(param.name)
        return Edit(scale={"lr": 0.5}) if param.name == "stem.twin" else None

    found = make_plan(rules_that(twin), NET)
    assert [decision.name for decision in found if decision.lr == 0.25] == ["head.weight"]
    assert asked == ["stem.weight", "blocks.0.weight", "blocks.1.weight", "head.weight", "stem.twin", "head.bias"]
    assert str(found.explain("stem.twin")[0]) == "wish_0: lr: 0.5 → 0.25 ()"


# --- nothing is silent ------------------------------------------------------------------------

MISSES = [
    ({"type": "freeze", "patterns": ["stem", "blcks"]}, "patterns[1]: 'blcks'", "Closest: blocks"),
    ({"type": "freeze", "patterns": ["*.bia"]}, "patterns[0]: '*.bia'", "Closest: "),
    (
        {"type": "freeze", "patterns": ["weight"]},
        "patterns[0]: 'weight'",
        "'**.weight' would match 4 (`*` stays inside",
    ),
    ({"type": "freeze", "patterns": ["zzz"]}, "patterns[0]: 'zzz'", "The model consists of: stem, blocks, head."),
    ({"type": "freeze", "levels": [0]}, "levels[0]: '**.levels.0'", ""),
    ({"type": "no_decay", "names": ["head.wight"]}, "names[0]: 'head.wight'", "Closest: head.weight"),
    ({"type": "no_decay", "keywords": ["head", "pos"]}, "keywords[1]: 'pos'", ""),
    ({"type": "dcn_lr", "factor": 0.1, "keywords": ["head", "mask"]}, "keywords[1]: 'mask'", ""),
    ({"type": "match", "table": {"stem": {}, "haed": {"lr": 1}}}, "table.haed: 'haed'", "Closest: head"),
    ({"type": "match", "table": [{"kinds": ["conv"], "lr": 1}]}, "table[0]: kinds conv", ""),
    ({"type": "layer_decay", "ratio": 0.5, "layers": ["stem", "hed"]}, "layers[1]: 'hed'", "Closest: head"),
    (
        {"type": "layer_decay", "ratio": 0.5, "layers": ["stem", ["head", "blcks.{n}"]]},
        "layers[1][1]: 'blcks.{n}'",
        "Closest: blocks",
    ),
]
TOUCHES_NOTHING: list[tuple[dict[str, Any], str]] = [
    *((config, f"rules[0].{where} matches no parameter. {hint}".rstrip()) for config, where, hint in MISSES),
    *(
        (config, f"rules[0]: rule {config['type']!r} touches no parameter of Net.")
        for config in (
            {"type": "no_decay", "bias": False, "one_dimensional": False},
            {"type": "dcn_lr", "factor": 0.1},
            {"type": "scaled_by", "names": ["x"]},
        )
    ),
]


@pytest.mark.parametrize(("config", "message"), TOUCHES_NOTHING)
def test_what_touches_no_parameter_is_an_error_a_warning_or_nothing(config, message):
    with pytest.raises(ConfigError) as caught:
        plan(config)
    assert message in str(caught.value)
    assert str(caught.value).endswith("Mend it, leave it out, or give the rule `optional: true`.")
    lenient = plan(config, strict=False)
    assert any(message in warning for warning in lenient.warnings)
    assert lenient.diff(plan({**config, "optional": True})).lines() == []
    assert not any(message in warning for warning in plan({**config, "optional": True}).warnings)


def test_several_patterns_without_a_match_make_one_short_message():
    with pytest.raises(ConfigError) as caught:
        plan({"type": "freeze", "patterns": ["stem", *(f"zzz{i}" for i in range(100))]})
    assert "rules[0].patterns[1]: 'zzz0'" in str(caught.value)
    assert "rules[0].patterns[3]: 'zzz2'" in str(caught.value)
    assert " And 97 more. " in str(caught.value)
    assert len(str(caught.value)) < 600


FROZEN = "touches only frozen parameters: blocks.0.weight"


@pytest.mark.parametrize(
    ("rules", "warnings"),
    [
        ([{"type": "scaled_by", "names": ["blocks.0.weight"]}], [f"rules[0] (scaled_by) {FROZEN}"]),
        ([{"type": "freeze", "patterns": ["blocks.0"]}], [f"rules[0] (freeze) {FROZEN}"]),
        ([{"type": "match", "table": {"blocks.0": {"lr": 1.0}}}], [f"rules[0] (match) {FROZEN}"]),
        ([{"type": "match", "table": {"blocks.0": {"lr": 1.0}, "stem": {"lr": 1.0}}}],
         ["rules[0] (match): only frozen parameters match table['blocks.0'] 'blocks.0'"]),
        ([{"type": "freeze", "patterns": ["stem", "blocks.0"]}],
         ["rules[0] (freeze): only frozen parameters match patterns[1] 'blocks.0'"]),
        # frozen by another rule, before or after
        ([{"type": "freeze", "patterns": ["blocks"]}, {"type": "match", "table": {"blocks.1": {"lr_mult": 0.1}}}],
         ["rules[1] (match) touches only frozen parameters: blocks.1.weight"]),
        ([{"type": "match", "table": {"blocks.1": {"lr_mult": 0.1}}}, {"type": "freeze", "patterns": ["blocks"]}],
         ["rules[0] (match) touches only frozen parameters: blocks.1.weight"]),
        # of two rules that freeze the same, the second one does nothing
        ([{"type": "freeze", "patterns": ["blocks"]}, {"type": "freeze", "patterns": ["blocks.1"]}],
         ["rules[1] (freeze) touches only frozen parameters: blocks.1.weight"]),
        ([{"type": "freeze", "patterns": ["blocks.1"]}, {"type": "freeze", "patterns": ["blocks"]}],
         ["rules[1] (freeze) touches only frozen parameters: blocks.0.weight, blocks.1.weight"]),
        # what a rule freezes itself was not frozen before
        ([{"type": "freeze", "patterns": ["blocks"]}], []),
        ([{"type": "match", "table": {"blocks.1": {"freeze": True}, "stem": {"lr": 1}}}], []),
        # a rule that touches something trainable as well is in order
        ([{"type": "scaled_by"}, {"type": "freeze", "patterns": ["blocks"]}], []),
    ],
)  # fmt: skip
def test_what_touches_only_frozen_parameters_is_a_warning(rules, warnings):
    assert list(plan(*rules).warnings) == warnings


def test_what_is_optional_may_still_be_pointless():
    assert plan({"type": "scaled_by", "names": ["blocks.0.weight"], "optional": True}).warnings == (
        f"rules[0] (scaled_by) {FROZEN}",
    )


def test_everything_frozen_is_an_error_that_names_what_is():
    with pytest.raises(ConfigError, match=r"^every parameter is frozen.*Frozen: stem\.weight, blocks\.0\.weight"):
        plan({"type": "freeze", "patterns": ["**"]})
    untrainable = Inventory((ParamInfo("a", (1,), trainable=False),))
    with pytest.raises(ConfigError, match=r"every parameter is frozen"):
        plan(model=untrainable)


def test_a_bound_rule_reports_warnings_and_notes():
    class Talks:
        def bind(self, model: Inventory) -> Edits:
            edits = Edits(model)
            edits.give([model["stem.weight"]], Edit())
            edits.warn("careful")
            edits.note("from the book")
            return edits

    RULES.register_module(name="talks", module=Talks, force=True)
    found = plan({"type": "talks"})
    assert (found.warnings, found.notes) == (("rules[0] (talks): careful",), ("talks: from the book",))


def test_a_shadowed_entry_of_match_is_a_warning():
    found = plan({"type": "match", "table": {"head": {}, "head.bias": {"lr": 0.1}, "stem": {"lr": 1}}})
    assert found.warnings == (
        "rules[0] (match): table['head.bias'] ('head.bias') does nothing: table.head takes all that it matches",
    )


def test_rules_apply_in_the_order_of_the_config():
    halves, sets = {"type": "scaled_by"}, {"type": "match", "table": {"**": {"lr": 1.0}}}
    assert plan(halves, sets)["head.bias"].lr == 1.0
    assert plan(sets, halves)["head.bias"].lr == 0.5
    assert make_plan(rules_that(on_a(Edit())), MODEL).warnings == ()


def test_an_error_gives_the_reason_of_the_rule_that_asked():
    rules = [{"type": "match", "table": {pattern: {"lr_mult": 1e200}}} for pattern in ("stem.**", "**")]
    with pytest.raises(ConfigError, match=r"rules\[1\].*asked for by: pattern '\*\*'"):
        make_plan({"optimizer": {"type": "adamw", "lr": 0.1}, "rules": rules}, Net())


def test_a_pattern_that_matches_only_frozen_parameters_is_a_warning():
    class Looks:
        def bind(self, model: Inventory) -> Edits:
            edits = Edits(model)
            edits.ask("patterns[0]", "a", [param for param in model if not param.trainable])
            return edits

    RULES.register_module(name="looks", module=Looks, force=True)
    model = Inventory((ParamInfo("a", (2,), trainable=False), ParamInfo("b", (2,))))
    found = make_plan({"optimizer": {"type": "adamw"}, "rules": [{"type": "looks", "optional": True}]}, model)
    assert found.warnings == ("rules[0] (looks): only frozen parameters match patterns[0] 'a'",)


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        (r"a\.\w+", re.escape(r"As a regular expression it would match 2: 're:a\.\w+'.")),
        ("^a$|^b", "As a regular expression it would match "),
        (r"zzz\d+", r"'zzz\\\\d\+' matches no parameter\. (Closest|The model consists)"),
        ("*.nothing", r"(Closest|The model consists|would match)"),
    ],
)
def test_a_pattern_that_is_a_regular_expression_is_hinted_at(pattern, hint):
    model = Inventory((ParamInfo("a.weight", (2,)), ParamInfo("a.bias", (2,)), ParamInfo("b.bias", (2,))))
    with pytest.raises(ConfigError, match=hint):
        make_plan({"optimizer": {"type": "adamw"}, "rules": [{"type": "freeze", "patterns": [pattern]}]}, model)


# --- a rule that sees what the others freeze ---------------------------------------------------


@rule("half_of_the_trained")
class HalfOfTheTrained:
    after_freezing: ClassVar[bool] = True

    def bind(self, model: Inventory) -> Edits:
        edits = Edits(model)
        edits.give(model.trained, Edit(scale={"lr": 0.5}))
        edits.note(f"frozen: {', '.join(sorted(model.frozen))}")
        return edits


def test_a_rule_that_is_asked_after_freezing_sees_what_all_others_freeze():
    RULES.register_module(name="half_of_the_trained", module=HalfOfTheTrained, force=True)
    half = {"type": "half_of_the_trained"}
    others = [{"type": "freeze", "patterns": ["stem.weight"]}, {"type": "freeze", "patterns": ["head.bias"]}]
    for rules in ([half, *others], [others[0], half, others[1]], [*others, half]):
        found = plan(*rules)
        assert "half_of_the_trained: frozen: head.bias, stem.weight" in found.notes
        assert [step.rule for step in found.explain("blocks.1.weight")] == ["half_of_the_trained"]
    assert not NET.frozen
    assert plan(half).notes == ("half_of_the_trained: frozen: ",)
