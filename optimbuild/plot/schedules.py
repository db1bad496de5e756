"""The LR over the steps of a schedule: a real scheduler, run on the groups of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimbuild.errors import ConfigError
from optimbuild.messages import shown, suggest
from optimbuild.plan.plan import Plan
from optimbuild.plot.marks import number

MOST_STEPS = 1_000_000
OF_CONFIG = "config"
"""The name of the schedule that a config of MMEngine has itself."""

Groups = list[dict[str, Any]]
Step = Callable[[int], None]
"""What makes a step of an optimizer and its schedulers, from its index."""


@dataclass(frozen=True)
class Schedule:
    """A schedule of the LR over the steps of a training.

    Args:
        name: Its name, for messages.
        steps: The number of steps.
        start: Makes the schedulers of an optimizer, and returns what makes a step of both.
        every_group: Whether it has settings for each group, so that it must see all of them.
    """

    name: str
    steps: int
    start: Callable[[Any], Step]
    every_group: bool = False

    def curves(self, plan: Plan) -> dict[str, list[float]]:
        """Return the LR at each step of the groups with the lowest, a middle and the highest LR, by a label of each.

        The schedulers are real ones, and the groups have the options of the plan, each with one small tensor.

        Raises:
            ConfigError: No group has an LR, or the schedule refuses the groups.
        """
        lrs = {i: lr for i, group in enumerate(plan.groups) if (lr := number(group.options.get("lr"))) is not None}
        if not lrs:
            raise ConfigError(f"no group has an LR, so there is nothing that {self.name} could change")
        labels = _chosen(lrs)
        wanted = range(len(plan.groups)) if self.every_group else sorted(set(labels.values()))
        optimizer = _idle([{**plan.groups[i].options} for i in wanted])
        place = {group: at for at, group in enumerate(wanted)}
        found: dict[str, list[float]] = {label: [] for label in labels}
        next_step = self.start(optimizer)
        for step in range(self.steps):
            for label, group in labels.items():
                found[label].append(float(optimizer.param_groups[place[group]]["lr"]))
            if step + 1 < self.steps:
                next_step(step)
        return found


def _chosen(lrs: Mapping[int, float]) -> dict[str, int]:
    """Return the groups with the lowest, a middle and the highest LR, by their labels; an LR counts once."""
    first = {lr: group for group, lr in reversed(list(lrs.items()))}
    ordered = sorted(first)
    if len(ordered) == 1:
        return {f"group {first[ordered[0]]} (all have one LR)": first[ordered[0]]}
    chosen = {"highest": ordered[-1], "middle": ordered[len(ordered) // 2], "lowest": ordered[0]}
    if len(ordered) == 2:
        del chosen["middle"]
    return {f"{name}: group {first[lr]}": first[lr] for name, lr in chosen.items()}


def _idle(groups: Groups) -> Any:
    """Return an optimizer that has groups, and whose step changes nothing."""
    import torch

    class Idle(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
            return None

    defaults = {key: value for group in groups for key, value in group.items()}  # where schedulers look for momentum
    return Idle([{**group, "params": [torch.zeros(1)]} for group in groups], defaults)


def _cosine(optimizer: Any, steps: int) -> Any:
    from torch.optim.lr_scheduler import CosineAnnealingLR

    return CosineAnnealingLR(optimizer, T_max=steps)


def _linear(optimizer: Any, steps: int) -> Any:
    from torch.optim.lr_scheduler import LinearLR

    return LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps)


def _onecycle(optimizer: Any, steps: int) -> Any:
    from torch.optim.lr_scheduler import OneCycleLR

    lrs = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, max_lr=lrs, total_steps=steps, cycle_momentum=False)


TORCH: Mapping[str, Callable[[Any, int], Any]] = {"cosine": _cosine, "linear": _linear, "onecycle": _onecycle}
"""The schedules that have a name: torch's own, over all steps, to an LR of 0."""
NAMES = (OF_CONFIG, *TORCH)


def named_schedule(name: str, steps: int) -> Schedule:
    """Return one of torch's schedules over a number of steps.

    Args:
        name: ``cosine``, ``linear`` or ``onecycle``.
        steps: The number of steps.

    Raises:
        ConfigError: There is no such schedule, or the number of steps is none.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1}}, Inventory((ParamInfo("fc.weight", (4, 4)),)))
    >>> named_schedule("linear", 4).curves(plan)
    {'group 0 (all have one LR)': [0.1, 0.075..., 0.05..., 0.025...]}
    """
    if name not in TORCH:
        raise ConfigError(f"there is no schedule {shown(name)}.{suggest(name, NAMES)} There are: {', '.join(NAMES)}.")
    refuse_steps(steps)

    def start(optimizer: Any) -> Step:
        scheduler = TORCH[name](optimizer, steps)

        def step(_: int) -> None:
            optimizer.step()
            scheduler.step()

        return step

    return Schedule(name, steps, start)


def refuse_steps(steps: int) -> None:
    """Raise a ConfigError for a number of steps that is none, or too large to draw."""
    if not 2 <= steps <= MOST_STEPS:
        raise ConfigError(f"--steps must be a whole number from 2 to {MOST_STEPS}, not {shown(steps)}")


def steps_per_epoch(steps: int | None, epochs: int, path: str) -> int:
    """Return how many steps an epoch has, from the number of all steps.

    Raises:
        ConfigError: The number is missing, or no multiple of that of the epochs, which are at a path of the config.
    """
    if steps is None:
        raise ConfigError(f"counts {epochs} epochs; say with --steps how many steps these are together", path)
    refuse_steps(steps)
    if steps % epochs:
        raise ConfigError(f"counts {epochs} epochs, of which {steps} is no multiple; --steps is for all", path)
    return steps // epochs


def has_lists(settings: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether some setting of a scheduler is a list, which may be one value per group."""
    return any(isinstance(value, (list, tuple)) for each in settings for value in each.values())
