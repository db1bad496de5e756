"""Several optimizers as one: a torch optimizer whose members share its groups and its state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.built_optimizer import original_class
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing, shown
from optimbuild.plan.decision import MEMBER

Make = Callable[[list[dict[str, Any]]], Optimizer]
"""Constructs a member with its groups."""


class CompositeOptimizer(Optimizer):
    """One optimizer for several: each group says under ``optimizer`` which member steps it.

    The members hold the very dictionaries of the groups and of the state that the composite has, so schedulers,
    ``zero_grad``, loading and hooks see one optimizer. ``defaults`` has the options that all members have.
    :func:`optimbuild.build_optimizer` makes one where a plan has several optimizers.

    Args:
        groups: All groups, each with the key ``optimizer``.
        members: For each name there, what constructs the member.

    >>> sgd, adam = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    >>> groups = [{"params": [sgd], "optimizer": "sgd"}, {"params": [adam], "optimizer": "adam", "lr": 0.5}]
    >>> members = {"sgd": lambda groups: torch.optim.SGD(groups, lr=0.1), "adam": torch.optim.Adam}
    >>> optimizer = CompositeOptimizer(groups, members)
    >>> [group["lr"] for group in optimizer.param_groups], sorted(optimizer.defaults)[:3]
    ([0.1, 0.5], ['differentiable', 'foreach', 'fused'])
    """

    members: dict[str, Optimizer]
    _made = False

    def __init__(self, groups: Sequence[dict[str, Any]], members: Mapping[str, Make]) -> None:
        self.members = {}
        for name, make in members.items():
            own = [{k: v for k, v in group.items() if k != MEMBER} for group in groups if group[MEMBER] == name]
            self.members[name] = make(own)
            for group in self.members[name].param_groups:
                group[MEMBER] = name
        made = {name: iter(member.param_groups) for name, member in self.members.items()}
        super().__init__([next(made[group[MEMBER]]) for group in groups], self._shared_defaults())
        for member in self.members.values():
            self.state.update(member.state)  # some classes have state from the start
        self._made = True
        self._share()

    def _shared_defaults(self) -> dict[str, Any]:
        first, *others = [member.defaults for member in self.members.values()]
        return {key: value for key, value in first.items() if all(key in other for other in others)}

    def _share(self) -> None:
        """Give the members the groups and the state, which whoever holds the optimizer may have replaced."""
        groups = _by_member(self.param_groups, self.members)
        for name, member in self.members.items():
            member.param_groups = groups[name]
            member.state = self.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the member that it names under ``optimizer``.

        Args:
            param_group: The group.

        Raises:
            CheckpointError: It names no member. Nothing was added.
            ValueError: A parameter is in another group already. Nothing was added.
        """
        if not self._made:
            self.param_groups.append(param_group)  # a member's own, of which the constructor makes a list
            return
        self._share()
        name = param_group.get(MEMBER)
        if not isinstance(name, str) or name not in self.members:
            raise _refusal(param_group, self.members, "a new group")
        given = param_group["params"]
        params = [given] if isinstance(given, torch.Tensor) else list(given)
        tensors = {id(tensor) for group in self.param_groups for tensor in group["params"]}
        if any(id(each[1] if isinstance(each, tuple) else each) in tensors for each in params):
            raise ValueError("some parameters appear in more than one parameter group")
        member = self.members[name]
        member.add_param_group({**{k: v for k, v in param_group.items() if k != MEMBER}, "params": params})
        member.param_groups[-1][MEMBER] = name
        self.param_groups.append(member.param_groups[-1])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step every member; the closure runs once, before.

        Args:
            closure: Computes the loss again.

        Returns:
            The loss; None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._share()
        for member in self.members.values():
            for hook in member._optimizer_step_pre_hooks.values():
                hook(member, (), {})
            _own_step(type(member))(member)
            for hook in member._optimizer_step_post_hooks.values():
                hook(member, (), {})
        return loss

    def train(self) -> None:
        """Tell the members that training goes on, where they want to know (schedule-free optimizers)."""
        self._tell("train")

    def eval(self) -> None:
        """Tell the members that the model is evaluated now, where they want to know."""
        self._tell("eval")

    def _tell(self, what: str) -> None:
        self._share()
        for member in self.members.values():
            if callable(tell := getattr(member, what, None)):
                tell()

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: (original_class(type(member)), _own_state(member)) for name, member in self.members.items()}
        return {**super().__getstate__(), "members": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take other groups and other state, and share them with the members again; loading comes here too.

        Raises:
            CheckpointError: A group names no member. Nothing was taken.
        """
        made = state.pop("members", {})
        groups = _by_member(state.get("param_groups", ()), made or self.members)
        if made:
            self.members = {}
        for name, (cls, its_own) in made.items():
            self.members[name] = member = cls.__new__(cls)
            member.__setstate__({**its_own, "state": {}, "param_groups": []})
        super().__setstate__(state)
        everything = self.state = defaultdict(dict, self.state)
        for name, member in self.members.items():
            tensors = [tensor for group in groups[name] for tensor in group["params"] if tensor in everything]
            own = defaultdict(dict, {tensor: everything[tensor] for tensor in tensors})
            member.__setstate__({"state": own, "param_groups": groups[name]})  # which may complete both
            everything.update(member.state)
        self._made = True
        self._share()


def _by_member(groups: Iterable[Mapping[str, Any]], members: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the groups of each member.

    Raises:
        CheckpointError: A group names no member.
    """
    found: dict[Any, list[Any]] = {name: [] for name in members}
    for group in groups:
        try:
            found[group[MEMBER]].append(group)  # before every step, so nothing is looked up twice
        except (KeyError, TypeError):
            raise _refusal(group, members, "a group") from None
    return found


def _refusal(group: Mapping[str, Any], members: Collection[str], what: str) -> CheckpointError:
    """Return the error for a group that names no member."""
    return CheckpointError(
        f"{what} must say which optimizer steps it: {{'params': …, {MEMBER!r}: {listing(list(map(repr, members)))}}}, "
        f"not {shown(group.get(MEMBER))}"
    )


def _own_state(member: Optimizer) -> dict[str, Any]:
    """Return what a copy of a member keeps, but for groups and state."""
    state = member.__getstate__()
    return {key: value for key, value in dict(state).items() if key not in ("state", "param_groups")}


def _own_step(cls: Any) -> Callable[[Optimizer], Any]:
    """Return the step of a class without the hooks and the profiling of torch, which the composite's step has."""
    step = cls.step
    return step.__wrapped__ if getattr(step, "hooked", False) else step  # type: ignore[no-any-return]
