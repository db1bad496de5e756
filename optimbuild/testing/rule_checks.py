"""The checks of a rule. Each is named for what must hold, and yields what does not."""

from __future__ import annotations

import contextlib
import copy
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import yaml
from mmengine.config import Config

from optimbuild.config import read_config
from optimbuild.config.dialects.yacs import defaults
from optimbuild.config.schema import rule_schema
from optimbuild.errors import ConfigError
from optimbuild.messages import listing, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo
from optimbuild.plan.make import planned
from optimbuild.testing.ranks import ask_ranks
from optimbuild.testing.rule_case import (
    RAISES,
    REFUSES,
    Answer,
    RuleCase,
    answer,
    answer_from_file,
    edits_in,
    option_names,
    plain_options,
)

REPEATS = 5
"""How many times a rule is asked the same."""
RESERVED = ("type", "optional")
"""The keys of a rule in a config that are no options."""


def options_are_described(case: RuleCase) -> Iterator[str]:
    """The class and each of its options have a docstring, which lists and editors show."""
    if not (case.cls.__doc__ or "").strip() or case.cls.__doc__.startswith(f"{case.cls.__name__}("):
        yield f"{case.cls.__qualname__} has no docstring, whose first line `optimbuild list` shows"
    if not hasattr(case.cls, "__pydantic_fields__") and (names := option_names(case.cls)):
        yield f"options are in no schema: {', '.join(names)}. Register the class by @rule, with a field for each"
    properties = rule_schema(case.cls).get("properties", {})
    for option, about in properties.items():
        if option in RESERVED:
            yield f"an option cannot be called {option!r}: every rule has a key of this name. Choose another name"
        elif not about.get("description"):
            yield f"option {option!r} has no description. Write a docstring under the field"


def unknown_options_are_refused(case: RuleCase) -> Iterator[str]:
    """A misspelt option is an error."""
    options = {**case.spec.options, "no_such_option": 1}
    try:
        RuleCase(case.name, case.cls, options, case.optimizer, {}).made()
    except ConfigError:
        return
    yield "takes an option that does not exist without an error. Name the options instead of **kwargs"


def options_round_trip(case: RuleCase) -> Iterator[str]:
    """Options come back from plain data as they were, so that saved plans mean the same."""
    if not hasattr(case.cls, "__pydantic_fields__"):
        return
    rule = case.made()
    options = plain_options(rule)
    try:
        again = RuleCase(case.name, case.cls, options, case.optimizer, case.models)
        same = again.made() == rule and again.answers == case.answers
    except ConfigError as error:
        yield f"refuses its own options as plain data, {shown(options, 200)}: {error}"
    else:
        if not same:
            yield f"its options as plain data, {shown(options, 200)}, make another rule"


def every_dialect_gives_the_same(case: RuleCase) -> Iterator[str]:
    """The rule reads the same in our dialect, as a YAML text, in yacs and in MMEngine."""
    rule = {"type": case.name, **_listed(case.spec.options)}
    yacs = defaults()
    yacs.TRAIN.OPTIMIZER.RULES = [rule]
    own = {"optimizer": dict(case.optimizer), "rules": [rule]}
    wrapper = {"optimizer": dict(case.optimizer), "paramwise_cfg": {"rules": [rule]}}
    configs = {
        "our dialect": own,
        "YAML": yaml.safe_load(yaml.safe_dump(own)),
        "yacs": yacs,
        "MMEngine": Config({"optim_wrapper": wrapper}),
    }
    for dialect, config in configs.items():
        read = read_config(config).spec.rules[-1]
        if read.options != case.spec.options:
            yield f"options {shown(read.options)} from {dialect}, and {shown(case.spec.options)} as they were given"


def _listed(value: Any) -> Any:
    """Return plain data with lists for tuples, as files give them."""
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def every_model_is_answered(case: RuleCase) -> Iterator[str]:
    """On every model the rule gives edits, or raises one of our errors."""
    for label in case.models:
        if RAISES in case.answers[label]:
            yield f"{label}: {case.answers[label][RAISES]}"


def nothing_is_changed(case: RuleCase) -> Iterator[str]:
    """The rule changes neither the model's parameters, nor its options, nor the global random numbers."""
    before = {label: [_content(param) for param in model] for label, model in case.models.items()}
    with _moved_random_states() as states:
        case.answers  # noqa: B018  # the first time that the rule is asked
        if _random_states() != states:
            yield "draws from the global random numbers, or seeds them. Make a random.Random(seed) of its own"
    for label, model in case.models.items():
        for param, content in zip(model, before[label], strict=True):
            if (now := _content(param)) != content:
                yield f"{label}: changes the parameter {param.name}: {shown(content, 200)} → {shown(now, 200)}"
        rule = case.made()
        options = copy.deepcopy(_fields(rule))
        with contextlib.suppress(Exception):  # which another check tells
            _ask(rule, model)
        if _fields(rule) != options:
            yield f"{label}: changes its own options: {shown(options, 200)} → {shown(_fields(rule), 200)}"


def _ask(rule: Any, model: Inventory) -> None:
    """Ask a rule for its edits, and keep the rule, so that it can be looked at afterwards."""
    bound = rule.bind(model.copy()) if hasattr(rule, "bind") else rule
    if callable(bound):
        for param in model:
            bound(param)


def _content(param: ParamInfo) -> tuple[Any, ...]:
    return (*param[:-2], copy.deepcopy(dict(param.marks)), dict(param.evidence))


def _fields(rule: Any) -> dict[str, Any]:
    """Return the options of a rule; what it computed and kept is none of them."""
    known = getattr(type(rule), "__pydantic_fields__", None)
    return {name: value for name, value in getattr(rule, "__dict__", {}).items() if known is None or name in known}


@contextlib.contextmanager
def _moved_random_states() -> Iterator[list[Any]]:
    """Move the global random numbers on, so that a seed shows, and yield their states; put them back at the end."""
    before, numpy_before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            random.random(), torch.rand(1), np.random.rand()  # noqa: S311  # the numbers are not used
            yield _random_states()
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)


def _random_states() -> list[Any]:
    return [random.getstate(), repr(np.random.get_state()), torch.random.get_rng_state().tolist()]


def the_same_twice(case: RuleCase) -> Iterator[str]:
    """Asked again, the rule answers the same: a plan asks once, and `explain` asks again."""
    for label, model in case.models.items():
        again = [answer(case.spec, model) for _ in range(REPEATS)]
        other = next((found for found in again if found != case.answers[label]), case.answers[label])
        yield from _differences(label, model, case.answers[label], other, "and then")


def _differences(label: str, model: Inventory, first: Answer, second: Answer, then: str) -> Iterator[str]:
    """Yield the first difference of two answers."""
    for key in (*model.names, *(first.keys() | second.keys()) - set(model.names)):
        if first.get(key) != second.get(key):
            yield f"{label}: for {key} {_words(first.get(key))}, {then} {_words(second.get(key))}"
            return


def _words(edit: Any) -> str:
    return shown(edit, 200) if edit is not None else "nothing"


def an_inventory_file_gives_the_same(case: RuleCase) -> Iterator[str]:
    """The edits for a module are those for its inventory file; notes may differ."""
    for label, model in case.models.items():
        read = Inventory.from_dict(case.files[label])
        ours, theirs = edits_in(case.answers[label], model), edits_in(answer(case.spec, read), model)
        yield from _differences(label, model, ours, theirs, "from its inventory file")


def other_processes_give_the_same(case: RuleCase) -> Iterator[str]:
    """In two other processes, where strings have other hashes, the rule answers the same: as on the ranks of a run."""
    here = answer_from_file(case.cls, case.name, case.spec.options, case.files)
    for there in ask_ranks(answer_from_file, case.cls, case.name, case.spec.options, case.files):
        for label, model in case.models.items():
            yield from _differences(label, model, here[label], there[label], "in another process")


def edits_can_be_planned(case: RuleCase) -> Iterator[str]:
    """The optimizer takes what the rule wants, and each edit says why."""
    for label, model in case.models.items():
        edits = edits_in(case.answers[label], model)
        for name, (*_, why) in edits.items():
            if not why.strip():
                yield f'{label}: the edit for {name} gives no reason, which `explain` shows. Write Edit(..., why="…")'
                break
        trained = [param for param in model.trainable if not (param.name in edits and edits[param.name][2])]
        if edits and trained:
            planned(case.config, model.copy())


def some_parameter_is_touched(case: RuleCase) -> Iterator[str]:
    """The rule wants something for a parameter of a model; else the other checks show nothing."""
    if any(edits_in(case.answers[label], model) for label, model in case.models.items()):
        return
    refusals = list(dict.fromkeys([str(found[REFUSES]) for found in case.answers.values() if REFUSES in found]))
    said = f" It says: {refusals[0]}." if refusals else ""
    yield (
        f"gives no edit to any parameter of {listing(list(case.models))}.{said} Give check_rule other options, "
        "or `models=` for which the rule is meant"
    )


RULE_CHECKS: tuple[Callable[[RuleCase], Iterator[str]], ...] = (
    nothing_is_changed,  # first, because what a rule changes it may change only once
    options_are_described,
    unknown_options_are_refused,
    options_round_trip,
    every_dialect_gives_the_same,
    every_model_is_answered,
    the_same_twice,
    an_inventory_file_gives_the_same,
    other_processes_give_the_same,
    edits_can_be_planned,
    some_parameter_is_touched,
)
"""All checks of a rule, in the order in which they run."""
