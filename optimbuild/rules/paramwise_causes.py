"""The general keys of ``paramwise_cfg``: what each holds for, and which of them reach no parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from optimbuild.messages import listing

WHAT: Mapping[str, tuple[str, str]] = {
    "dcn_offset_lr_mult": ("lr", "offset of a deformable convolution"),
    "bias_lr_mult": ("lr", "bias"),
    "norm_decay_mult": ("weight_decay", "norm"),
    "bias_decay_mult": ("weight_decay", "bias"),
    "dwconv_decay_mult": ("weight_decay", "depthwise convolution"),
    "flat_decay_mult": ("weight_decay", "one-dimensional"),
}
"""By general key the option that it scales, and what it holds for; in MMEngine's order."""


class Cause(NamedTuple):
    """A general key that holds for a parameter.

    Args:
        key: The key.
        factor: Its value.
    """

    key: str
    factor: float

    @property
    def option(self) -> str:
        """The option that it scales."""
        return WHAT[self.key][0]

    @property
    def what(self) -> str:
        """What the parameter is."""
        return WHAT[self.key][1]


class Taker(NamedTuple):
    """A custom key, which takes a parameter before every general key.

    Args:
        name: The key, for messages.
        factors: By option the factor that it gives; an option that it sets to a value is missing.
    """

    name: str
    factors: Mapping[str, float]


class Tally:
    """Which general keys reach a parameter, and what takes the others first.

    A key counts as shadowed only where what comes first gives another factor.

    >>> tally = Tally()
    >>> tally.count([Cause("norm_decay_mult", 0.0)], Taker("custom_keys['backbone']", {"lr": 0.1, "weight_decay": 1.0}))
    >>> tally.warnings({"norm_decay_mult": 0.0})
    ["norm_decay_mult does nothing: custom_keys['backbone'] takes every norm first"]
    """

    def __init__(self) -> None:
        self._met: dict[str, int] = {}
        self._reached: dict[str, int] = {}
        self._shadowed: dict[str, dict[str, int]] = {}

    def count(self, causes: Sequence[Cause], taker: Taker | None) -> None:
        """Count one parameter.

        Args:
            causes: The general keys that hold for it, in MMEngine's order.
            taker: The custom key that takes it first.
        """
        first: dict[str, tuple[str, float | None]] = {}
        for cause in causes:
            if taker is not None:
                first[cause.option] = (taker.name, taker.factors.get(cause.option))
            name, factor = first.setdefault(cause.option, (cause.key, cause.factor))
            self._met[cause.key] = self._met.get(cause.key, 0) + 1
            if name == cause.key:
                self._reached[cause.key] = self._reached.get(cause.key, 0) + 1
            elif factor != cause.factor:
                takers = self._shadowed.setdefault(cause.key, {})
                takers[name] = takers.get(name, 0) + 1

    def warnings(self, given: Mapping[str, float]) -> list[str]:
        """Return a warning for each key that scales nothing.

        Args:
            given: The general keys that the config has, with their factors. A factor of 1 asks for nothing.
        """
        found = []
        for key, factor in given.items():
            what, takers = WHAT[key][1], self._shadowed.get(key)
            if factor == 1.0 or key in self._reached:
                continue
            if takers:
                takes = "takes" if len(takers) == 1 else "take"
                reason = f"{listing(list(takers), 3)} {takes} every {_thing(what)} first"
            elif key not in self._met:
                reason = f"MMEngine finds no {_thing(what)} that trains"
            else:
                continue
            found.append(f"{key} does nothing: {reason}")
        return found

    def notes(self) -> list[str]:
        """Return a note for each key that custom keys keep from a part of what it holds for."""
        found = []
        for key, takers in self._shadowed.items():
            custom = [name for name in takers if name not in WHAT]
            if custom and key in self._reached:
                found.append(
                    f"{key} reaches {self._reached[key]} of {self._met[key]} tensors: "
                    f"{listing(custom, 3)} {'takes' if len(custom) == 1 else 'take'} the others first"
                )
        return found


def _thing(what: str) -> str:
    return f"{what} tensor" if "-" in what else what
