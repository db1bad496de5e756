"""The checks of an optimizer. Each is named for what must hold, and yields what does not."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from optimbuild.checkpoint import load_optimizer_state, optimizer_state
from optimbuild.config.schema import optimizer_schema
from optimbuild.messages import listing, shown
from optimbuild.testing.ranks import ask_ranks
from optimbuild.testing.training import (
    OptimizerCase,
    Training,
    differing,
    differing_under_zero,
    for_other_process,
)

STEPS = 3
"""How many steps are taken before something happens, and after it."""
LONG = 20
"""After how many steps the loss must be lower."""


def options_are_described(case: OptimizerCase) -> Iterator[str]:
    """Each declared option has a docstring, which lists and editors show."""
    for option, about in optimizer_schema(case.kind).get("properties", {}).items():
        if not about.get("description"):
            yield f"option {option!r} has no description. Write a docstring under the field"


def options_round_trip(case: OptimizerCase) -> Iterator[str]:
    """The options that a plan holds, defaults included, are options that a config may give."""
    complete = case.kind.complete(case.options)
    given = {key: value for key, value in complete.items() if key not in case.kind.fixed}
    again = case.kind.complete(given)
    yield from (f"{key}: {complete[key]!r} → {again[key]!r}" for key in complete if again[key] != complete[key])


def training_is_deterministic(case: OptimizerCase) -> Iterator[str]:
    """Two trainings from the same weights on the same data are the same, bit for bit."""
    if names := differing(*[case.start().train(STEPS).weights for _ in range(2)]):
        yield f"two equal trainings of {STEPS} steps differ in {listing(names, 5)}"


def loss_goes_down(case: OptimizerCase) -> Iterator[str]:
    """After some steps the loss is lower."""
    losses = case.start().train(LONG + 1).losses
    if not losses[-1] < losses[0]:
        yield f"the loss was {losses[0]:.4g} and is {losses[-1]:.4g} after {LONG} steps with {shown(case.options)}"


def groups_are_as_planned(case: OptimizerCase) -> Iterator[str]:
    """Built with two settings, the optimizer has two groups, with the parameters and options that the plan says."""
    name, *_ = case.names
    for option in _scalable(case):
        optimizer: Any = case.start([_scaled(name, option)]).optimizer
        groups = [(group["param_names"], group[option]) for group in optimizer.param_groups]
        planned = [(list(group.params), group.options[option]) for group in optimizer.plan.groups]
        if groups != planned:
            yield f"groups by {option} are planned as {shown(planned, 200)} and built as {shown(groups, 200)}"


def each_group_has_its_own_options(case: OptimizerCase) -> Iterator[str]:
    """The LR and the weight decay of a group make a difference."""
    name, *_ = case.names
    for option in _scalable(case):
        alike = case.start([_set(name, option, 0.25)]).train(STEPS).weights
        other = case.start([_set(name, option, 0.5)]).train(STEPS).weights
        if torch.equal(alike[name], other[name]):
            yield f"{name} is trained alike with {option} 0.25 and 0.5 in its group. Read group[{option!r}] in step"


def _scalable(case: OptimizerCase) -> list[str]:
    """Return which of LR and weight decay the optimizer takes and does not fix."""
    return [option for option in ("lr", "weight_decay") if option in case.kind.known and option not in case.kind.fixed]


def _scaled(name: str, option: str) -> dict[str, Any]:
    return _set(name, option, 0.125)


def _set(name: str, option: str, value: float) -> dict[str, Any]:
    return {"type": "match", "table": [{"pattern": name, option: value}]}


def a_step_returns_the_loss_of_its_closure(case: OptimizerCase) -> Iterator[str]:
    """``step(closure)`` calls the closure, with gradients enabled, and returns the loss: Lightning trains by it."""
    training, calls = case.start(), list[bool]()

    def closure() -> Any:
        calls.append(torch.is_grad_enabled())
        return training.backward()

    loss, before = float(training.module().detach()), training.weights
    returned: Any = training.optimizer.step(closure)
    if not calls:
        yield "step(closure) does not call the closure, which computes the gradients"
    elif not all(calls):
        yield "step(closure) calls the closure without gradients. Call it under `with torch.enable_grad():`"
    elif returned is None or float(returned) != loss:
        yield f"step(closure) returns {shown(returned)} and not the loss, {loss}"
    elif not differing(before, training.weights):
        yield "step(closure) changes nothing, although the closure computed gradients"


def a_parameter_without_gradient_stays(case: OptimizerCase) -> Iterator[str]:
    """A parameter whose gradient is None is left as it is."""
    name, *_ = case.names
    training = case.start()
    before = training.weights[name]
    if not torch.equal(training.train(STEPS, without=[name]).weights[name], before):
        yield f"{name} has no gradient and changes. Skip parameters whose `grad` is None"


def state_goes_through_torch(case: OptimizerCase) -> Iterator[str]:
    """``state_dict``, a file, and ``load_state_dict`` continue a training as if it had not stopped."""
    first = case.start_plain().train(STEPS)
    second = case.start_plain(first.weights)
    file = io.BytesIO()
    torch.save(first.optimizer.state_dict(), file)
    file.seek(0)
    second.optimizer.load_state_dict(torch.load(file, weights_only=True))
    yield from _goes_on_alike(first, second, "Keep all of it in self.state and in the groups")


def state_goes_by_name(case: OptimizerCase) -> Iterator[str]:
    """State by name continues a training in which a parameter is frozen, so that all others have new positions."""
    frozen, *others = case.names
    first = case.start().train(STEPS)
    second = case.start([{"type": "freeze", "patterns": [frozen]}], first.weights)
    saved = copy.deepcopy(optimizer_state(first.optimizer))
    load_optimizer_state(second.optimizer, saved, unexpected="ignore")
    if others:
        hint = "Keep the state of a parameter in self.state[parameter], and nothing by position"
        yield from _goes_on_alike(first, second, hint, without=[frozen])


def _goes_on_alike(first: Training, second: Training, hint: str, without: list[str] | None = None) -> Iterator[str]:
    """Train both on, the second of which was resumed, and yield how it differs from the first."""
    ends = [training.train(STEPS, without or ()).weights for training in (first, second)]
    if names := differing(*ends):
        yield f"the resumed training differs from the uninterrupted one in {listing(names, 5)}. {hint}"


def memory_is_as_planned(case: OptimizerCase) -> Iterator[str]:
    """The state takes as many bytes as the plan says, which is what ``state=`` declares or a step on meta shows."""
    training = case.start().train()
    optimizer: Any = training.optimizer
    planned = optimizer.plan.memory(1).ranks[0].state
    tensors, numbers = _bytes(list(optimizer.state.values()))
    if not tensors <= planned <= tensors + 4 * numbers:
        yield f"the plan says {planned} bytes of state, and after a step there are {tensors}. Mend `state=`, or drop it"


def _bytes(value: Any) -> tuple[int, int]:
    """Return the bytes of all tensors in nested data, and the number of other numbers, which may be declared."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size(), 0
    if isinstance(value, (int, float)):
        return 0, 1
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    counts = [_bytes(item) for item in items]
    return sum(tensors for tensors, _ in counts), sum(numbers for _, numbers in counts)


def a_scheduler_counts(case: OptimizerCase) -> Iterator[str]:
    """What a scheduler writes into a group is what the next step uses."""
    if "lr" not in _scalable(case):
        return
    constant, scheduled = case.start().train(), case.start().train()
    scheduler = LambdaLR(scheduled.optimizer, lambda epoch: 0.5**epoch)
    before = [group["lr"] for group in scheduled.optimizer.param_groups]
    scheduler.step()
    after = [group["lr"] for group in scheduled.optimizer.param_groups]
    if after != [lr * 0.5 for lr in before]:
        yield f"a scheduler that halves every LR leaves {before} as {after}"
    scheduled.train(STEPS)
    if not differing(constant.train(STEPS).weights, scheduled.weights):
        yield "halving the LR by a scheduler changes nothing. Read group['lr'] at each step"


def zero_gives_the_same(case: OptimizerCase) -> Iterator[str]:
    """With its state sharded over two ranks by ZeRO, the optimizer trains the same, bit for bit."""
    for rank, names in enumerate(ask_ranks(differing_under_zero, for_other_process(case), STEPS)):
        if names:
            yield (
                f"rank {rank} trains {listing(names, 5)} otherwise than one process does. A step on some of the "
                "parameters must not depend on the others; if it must, leave this check out, and never use `zero`"
            )


OPTIMIZER_CHECKS: tuple[Callable[[OptimizerCase], Iterator[str]], ...] = (
    options_are_described,
    options_round_trip,
    training_is_deterministic,
    loss_goes_down,
    groups_are_as_planned,
    each_group_has_its_own_options,
    a_step_returns_the_loss_of_its_closure,
    a_parameter_without_gradient_stays,
    state_goes_through_torch,
    state_goes_by_name,
    memory_is_as_planned,
    a_scheduler_counts,
    zero_gives_the_same,
)
"""All checks of an optimizer, in the order in which they run."""
