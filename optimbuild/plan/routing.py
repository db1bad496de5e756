"""Checking where parameters are routed: to optimizers that train none, that refuse tensors, or that need a closure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from optimbuild.config.spec import Spec
from optimbuild.errors import ConfigError
from optimbuild.messages import counted, listing
from optimbuild.plan.apply import Applied
from optimbuild.plan.decision import Group
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.values import join


def idle_optimizers(spec: Spec, rules: Sequence[Applied], trained_by: Collection[str | None]) -> list[str]:
    """Return a warning for each optimizer of a config that trains no parameter.

    Args:
        spec: The canonical config.
        rules: The rules, in their order.
        trained_by: The names of the optimizers that some parameter is trained by; None for the config's own.

    Raises:
        ConfigError: Under ``strict`` there is one.
    """
    if not spec.optimizers:
        return []
    trained = {name.lower() for name in trained_by if name is not None}
    lacking = [name for name in spec.optimizers if name.lower() not in trained]
    idle = [(join("optimizers", name), _why_idle(name, rules)) for name in lacking]
    if None not in trained_by:
        why = f"every trained parameter is routed away from {spec.optimizer.type}. Name another one in `optimizer`"
        idle.append(("optimizer", why))
    if idle and spec.strict:
        raise ConfigError(idle[0][1], idle[0][0])
    return [f"{path}: {why}" for path, why in idle]


def _why_idle(name: str, rules: Sequence[Applied]) -> str:
    routing = [rule for rule in rules if _names(rule, name)]
    if routing:
        by = listing(list(map(str, routing)))
        return f"trains no parameter: what {by} routes to it is frozen, or routed elsewhere by a later rule"
    return f"no rule routes a parameter to it. Add {{type: route, to: {name}, …}}, or `optimizer: {name}` to match"


def _names(rule: Applied, name: str) -> bool:
    return any(edit and edit.optimizer and edit.optimizer.lower() == name.lower() for edit in rule.edits.table)


def refuse_wrong_tensors(groups: Sequence[Group], rules: Sequence[Applied]) -> None:
    """Raise a ConfigError where an optimizer does not take a tensor that it was given, such as Muon a vector.

    An optimizer may be registered with the number of dimensions that it takes. A class whose options are read from its
    signature is constructed with one tensor of each number of dimensions, on the meta device.

    Args:
        groups: The groups of a plan.
        rules: The rules, in their order.

    Raises:
        ConfigError: An optimizer refuses tensors of a plan; names them, and the rule to blame.
    """
    for name in dict.fromkeys([group.optimizer for group in groups]):
        own = [group for group in groups if group.optimizer == name]
        refused = _refused(find_optimizer(name), own)
        if refused:
            names = [n for group in own for n, shape in _named_shapes(group) if len(shape) in refused]
            raise ConfigError(
                f"{name} does not take {counted(len(names), 'parameter')} that it is given: {listing(names)} "
                f"({next(iter(refused.values()))}). Route other parameters to it, or give these to another optimizer",
                _blamed(names[0], rules),
            )


def refuse_closures(groups: Sequence[Group], rules: Sequence[Applied]) -> None:
    """Raise a ConfigError where one of several optimizers needs a closure, which is called before any of them steps.

    A class whose options are read from its signature is asked by a step on a tiny tensor; others when they are built.

    Args:
        groups: The groups of a plan.
        rules: The rules, in their order.

    Raises:
        ConfigError: One needs a closure; the error has the path of the rule to blame.
    """
    first = {group.optimizer: group for group in reversed(groups)}
    for name, group in first.items() if len(first) > 1 else ():
        kind = find_optimizer(name)
        if kind.schema is None and calls_closure(kind, group):
            raise ConfigError(closure_needed(name), _blamed(group.params[0], rules))


def calls_closure(kind: OptimizerType, group: Group) -> bool:
    """Say whether an optimizer takes a step only with a closure, by a step on a tiny tensor."""
    from optimbuild.plan import state_probe  # as below

    dimensions = len(group.shapes[0]) if group.shapes else 2
    return state_probe.needs_closure(kind.load(), kind.arguments(group.options), dimensions)


def closure_needed(name: str) -> str:
    """Return what to say of an optimizer that needs a closure and is one of several."""
    return f"{name} calls the closure itself, so it cannot be one of several optimizers. Route nothing to it"


def _named_shapes(group: Group) -> Iterable[tuple[str, tuple[int, ...]]]:
    return zip(group.params, group.shapes, strict=True)


def _refused(kind: OptimizerType, groups: Sequence[Group]) -> dict[int, str]:
    """Return the numbers of dimensions that an optimizer refuses, each with the reason."""
    given: dict[int, tuple[Group, tuple[int, ...]]] = {}
    for group in groups if kind.schema is None or kind.dimensions is not None else ():
        for shape in group.shapes:
            given.setdefault(len(shape), (group, shape))
    if kind.dimensions is not None:
        why = f"it takes tensors of {counted(kind.dimensions, 'dimension')}"
        return {dimensions: why for dimensions in given if dimensions != kind.dimensions}
    answers = {dimensions: _answer(kind, group.options, shape) for dimensions, (group, shape) in given.items()}
    if any(answers.values()):
        # a class that takes no tensor at all on the meta device says nothing about those of the model
        others = [_answer(kind, groups[0].options, shape) for shape in ((4,), (4, 4), (4, 4, 1, 1))]
        if not all([*answers.values(), *others]):
            return {dimensions: why for dimensions, why in answers.items() if why}
    return {}


def _answer(kind: OptimizerType, options: Mapping[str, Any], shape: tuple[int, ...]) -> str:
    from optimbuild.plan.state_probe import refusal  # a class whose options are not declared is one of torch's world

    return refusal(kind.load(), kind.arguments(options), shape)


def _blamed(name: str, rules: Sequence[Applied]) -> str:
    """Return the path of the rule that routed a parameter; that of the config's own optimizer where none did."""
    routing = [rule.path for rule in rules if (edit := rule.edits[name]) is not None and edit.optimizer is not None]
    return routing[-1] if routing else "optimizer.type"
