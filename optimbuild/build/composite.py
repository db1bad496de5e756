"""Several optimizers as one: a torch optimizer whose members share its groups and its state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import Optimizer

from optimbuild.checkpoint.built_optimizer import original_class
from optimbuild.checkpoint.named_optimizer import MEMBER
from optimbuild.errors import CheckpointError
from optimbuild.messages import listing

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

    def __init__(self, groups: Sequence[dict[str, Any]], members: Mapping[str, Make]) -> None:
        self.members: dict[str, Optimizer] = {}
        for name, make in members.items():
            own = [{k: v for k, v in group.items() if k != MEMBER} for group in groups if group[MEMBER] == name]
            self.members[name] = make(own)
            for group in self.members[name].param_groups:
                group[MEMBER] = name
        made = {name: iter(member.param_groups) for name, member in self.members.items()}
        super().__init__([next(made[group[MEMBER]]) for group in groups], self._shared_defaults())
        for member in self.members.values():
            self.state.update(member.state)  # some classes have state from the start
            member.state = self.state

    def _shared_defaults(self) -> dict[str, Any]:
        first, *others = [member.defaults for member in self.members.values()]
        return {key: value for key, value in first.items() if all(key in other for other in others)}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the member that it names under ``optimizer``.

        Args:
            param_group: The group.

        Raises:
            CheckpointError: It names no member. Nothing was added.
            ValueError: A parameter is in another group already. Nothing was added.
        """
        if len(self.param_groups) < sum(len(member.param_groups) for member in self.members.values()):
            self.param_groups.append(param_group)  # the constructor hands over the members' own
            return
        member = self.members.get(param_group.get(MEMBER, ""))
        if member is None:
            raise CheckpointError(
                f"a new group must say which optimizer steps it: {{'params': …, {MEMBER!r}: "
                f"{listing(list(map(repr, self.members)))}}}"
            )
        tensors = {id(tensor) for group in self.param_groups for tensor in group["params"]}
        given = param_group["params"]
        for each in [given] if isinstance(given, torch.Tensor) else given:
            if id(each[1] if isinstance(each, tuple) else each) in tensors:
                raise ValueError("some parameters appear in more than one parameter group")
        member.add_param_group({key: value for key, value in param_group.items() if key != MEMBER})
        member.param_groups[-1][MEMBER] = param_group[MEMBER]
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
        for member in self.members.values():
            if callable(tell := getattr(member, what, None)):
                tell()

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: (original_class(type(member)), member.defaults) for name, member in self.members.items()}
        return {**super().__getstate__(), "members": kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take other groups and other state, and share them with the members again; loading comes here too."""
        for name, (cls, defaults) in state.pop("members", {}).items():
            self.__dict__.setdefault("members", {})[name] = member = cls.__new__(cls)
            member.__setstate__({"defaults": defaults, "state": {}, "param_groups": []})
        super().__setstate__(state)
        everything = self.state
        for name, member in self.members.items():
            groups = [group for group in self.param_groups if group[MEMBER] == name]
            own = {tensor: everything[tensor] for g in groups for tensor in g["params"] if tensor in everything}
            member.__setstate__({"state": defaultdict(dict, own), "param_groups": groups})
            everything.update(member.state)
            member.state = everything


def _own_step(cls: Any) -> Callable[[Optimizer], Any]:
    """Return the step of a class without the hooks and the profiling of torch, which the composite's step has."""
    step = cls.step
    return step.__wrapped__ if getattr(step, "hooked", False) else step  # type: ignore[no-any-return]
