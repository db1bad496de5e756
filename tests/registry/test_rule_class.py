"""The mistakes of an author are found where a rule or optimizer is registered, with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from typing import Any, ClassVar

import pydantic
import pytest
import torch

from optimbuild import (
    ConfigError,
    Inventory,
    ParamInfo,
    RegistrationError,
    build_optimizer,
    make_plan,
    optimizer,
    rule,
)
from optimbuild.config.schema import config_schema
from optimbuild.registry import RULES
from optimbuild.registry.optimizer_type import Options
from optimbuild.registry.rule_class import rule_class


class Answers:
    """The method that makes a class a rule."""

    def __call__(self, param: ParamInfo) -> None:
        return None


class Untyped(Answers):
    factor = 0.1


class UntypedNone(Answers):
    factor = None


class Foreign(Answers):
    model: Answers


class ACallable(Answers):
    hook: Callable[[int], int] | None = None


class Nested(Answers):
    hooks: dict[str, list[Answers]] = field(default_factory=dict)


class Unknown(Answers):
    factor: Nowhere  # noqa: F821


class Mutable(Answers):
    table: dict[str, float] = {}  # noqa: RUF012


class Order(Answers):
    first: int = 1
    second: int


class FieldWithoutType(Answers):
    factor = field(default=1)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Untyped, "`factor = 0.1` in Untyped has no type, so it is no option. Write `factor: float = 0.1`, or "),
        (UntypedNone, "Write `factor: float | None = None`, or `factor: ClassVar = None` for a constant."),
        (Foreign, "`model: Answers` cannot be an option, because a config holds plain data. Give it a type such as"),
        (ACallable, "`hook: Callable[[int], int] | None` cannot be an option"),
        (Nested, "`hooks: dict[str, list[Answers]]` cannot be an option"),
        (Unknown, "the type of `factor` is not known where it is used: name 'Nowhere' is not defined"),
        (Mutable, "Mutable: mutable default <class 'dict'> for field table is not allowed: use default_factory"),
        (Order, "Order: non-default argument 'second' follows default argument"),
        (FieldWithoutType, "FieldWithoutType: 'factor' is a field but has no type annotation"),
    ],
)
def test_a_field_that_is_no_option_is_refused_with_what_to_write(cls: type, message: str) -> None:
    with pytest.raises(RegistrationError, match=r"^rule 'wrong': .*" + re.escape(message)):
        rule("wrong")(cls)
    assert "wrong" not in RULES.names()


def test_constants_and_other_attributes_are_no_options() -> None:
    class Fine(Answers):
        LIMIT = 3
        kinds: ClassVar = ("norm",)
        _cache = ()
        factor: float = 0.1

        @property
        def twice(self) -> float:
            return 2 * self.factor

    made: Any = rule_class("fine", Fine)
    assert list(made.__pydantic_fields__) == ["factor"]
    assert made(factor="0.5").twice == 1.0


@pytest.mark.parametrize("register", [rule, optimizer])
def test_a_decorator_without_its_name_is_refused_with_what_to_write(register: Any) -> None:
    kind = register.__name__
    with pytest.raises(RegistrationError, match=rf'^@{kind} takes a name: write `@{kind}\("my_name"\)` above Answers$'):
        register(Answers)
    with pytest.raises(RegistrationError, match=rf"^@{kind} takes a name, which is a string, not 3$"):
        register(3)


def test_every_registered_rule_has_a_schema() -> None:
    assert set(config_schema()["$defs"]["RuleSpec"]["properties"]["type"]["enum"]) == set(RULES.names())


class Declared(Options):
    """Options of an optimizer."""

    lr: float = 0.1


@pytest.mark.parametrize("where", ["defaults", "fixed"])
def test_a_default_that_the_options_lack_is_refused(where: str) -> None:
    with pytest.raises(RegistrationError, match=r"'lrr', which is not in Declared. Did you mean 'lr'\? There are: lr."):
        optimizer("with_wrong_default", "torch.optim:SGD", options=Declared, **{where: {"lrr": 1.0}})


def test_a_target_that_is_no_class_is_refused() -> None:
    target: Any = 3
    with pytest.raises(RegistrationError, match=r"`package.module:Class` or a class, not 3"):
        optimizer("of_a_number", target)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"lr": 0.1}}, "`options` is a pydantic model, such as a subclass of optimbuild.registry"),
        (
            {"implementations": "fused"},
            "`implementations` is a tuple of names, not 'fused'",
        ),
        ({"implementations": ("cuda",)}, "'cuda' is neither"),
        ({"state": 2}, "`state` is a function from options to a State, not 2"),
        ({"group_marks": "mark"}, "`group_marks` is a tuple of names, not 'mark'"),
        ({"dimensions": "2"}, "`dimensions` is a whole number, such as 2, not '2'"),
        ({"fixed": ["lr"]}, "`fixed` is a mapping from options to values, such as {'lr': 0.1}, not ['lr']"),
    ],
)
def test_a_wrong_argument_of_an_optimizer_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RegistrationError, match=r"^optimizer 'of_wrong_arguments': .*" + re.escape(message)):
        optimizer("of_wrong_arguments", "torch.optim:SGD", **arguments)


def makes_sgd(params: Any, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr)


def test_a_function_as_target_is_an_error_that_says_how_to_register_it() -> None:
    target: Any = makes_sgd
    with pytest.raises(RegistrationError, match=r"by its path: optimizer\('of_a_function', '.*:makes_sgd'\)$"):
        optimizer("of_a_function", target)


class WithoutGroups(torch.optim.Optimizer):
    """Forgets what torch's constructor does."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        self.lr = lr

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_a_class_that_does_not_call_torchs_constructor_is_an_error() -> None:
    optimizer("of_no_groups", WithoutGroups, force=True)
    with pytest.raises(ConfigError, match=r"of_no_groups has no groups: call super\(\).__init__\(params, defaults\)"):
        build_optimizer({"optimizer": {"type": "of_no_groups"}}, torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("state", "message"),
    [(lambda _: 2, "such as State(copies=2, scalars=1), not 2"), (lambda: 2, "it raised TypeError: ")],
)
def test_a_declared_state_that_is_none_is_an_error_with_its_place(state: Any, message: str) -> None:
    optimizer("of_wrong_state", "torch.optim:SGD", state=state, force=True)
    plan = make_plan({"optimizer": {"type": "of_wrong_state"}}, Inventory((ParamInfo("fc.weight", (2, 2)),)))
    expected = rf"^`state=` of optimizer 'of_wrong_state' \(.*test_rule_class\.py:\d+\) must .*{re.escape(message)}"
    with pytest.raises(ConfigError, match=expected):
        plan.memory()


def test_a_pydantic_model_is_not_needed_for_a_rule() -> None:
    assert pydantic.TypeAdapter(rule_class("plain", Answers)).json_schema()["properties"] == {}
