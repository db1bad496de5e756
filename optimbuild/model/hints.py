"""What a model's own methods answer: asked when needed, or looked up where they were written down."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from optimbuild.errors import ModelError
from optimbuild.messages import listing, shown
from optimbuild.model.names import canonical
from optimbuild.values import finite

HOOKS = ("no_weight_decay", "no_weight_decay_keywords", "lr_decay_keywords", "get_layer_depth", "group_matcher")
RATIOS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.95)
"""The ratios for which an inventory file keeps what ``lr_decay_keywords(ratio)`` answers, unless told others."""


class Hooks:
    """A model's hooks. What they answered is kept as JSON data.

    Args:
        answers: By hook; those that take an argument by its ``repr``, or by the name of a parameter.
        live: The model's bound methods, by hook.

    >>> hooks = Hooks(live={"no_weight_decay": lambda: {"pos_embed"}})
    >>> hooks.offers("get_layer_depth"), hooks.no_weight_decay()
    (False, frozenset({'pos_embed'}))
    """

    def __init__(
        self, answers: Mapping[str, Any] | None = None, live: Mapping[str, Callable[..., Any]] | None = None
    ) -> None:
        known = (answers or {}).items()
        self.answers: dict[str, Any] = {hook: dict(a) if isinstance(a, dict) else list(a) for hook, a in known}
        self._live = dict(live or {})
        self._place: Callable[[str], list[float] | None] | None = None

    def copy(self) -> Hooks:
        """Return hooks that know the same, and of which later answers stay apart."""
        return Hooks(self.answers, self._live)

    def offers(self, hook: str) -> bool:
        """Say whether the model has this hook."""
        return hook in self._live or hook in self.answers

    def no_weight_decay(self) -> frozenset[str]:
        """Return the names for which the model wants no weight decay."""
        return frozenset(self._ask("no_weight_decay"))

    def no_weight_decay_keywords(self) -> tuple[str, ...]:
        """Return the pieces of names for which the model wants no weight decay."""
        return tuple(self._ask("no_weight_decay_keywords"))

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        """Return LR factors by a piece of the name, in the model's order.

        An inventory file holds the answers for some ratios. Where every factor in it is a power of its
        ratio, to the last bit and the same for each of them, those powers of another ratio are its answer.

        Raises:
            ModelError: An inventory file does not hold the answer for this ratio, nor powers.

        >>> Hooks({"lr_decay_keywords": {"0.5": {"blocks.1.": 0.5, "blocks.0.": 0.25}}}).lr_decay_keywords(0.1)
        {'blocks.1.': 0.1, 'blocks.0.': 0.010000000000000002}
        """
        known, key = self.answers.get("lr_decay_keywords", {}), repr(ratio)
        if key not in known and "lr_decay_keywords" not in self._live:
            derived = _powers(ratio, known)
            if derived is not None:
                return derived
        found: dict[str, float] = self._ask_for("lr_decay_keywords", key, ratio)
        return found

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Return a parameter's layer, counted from the input, and the number of layers."""
        layer, layers = self._ask_for("get_layer_depth", name, name)
        return layer, layers

    def group_of(self, name: str) -> tuple[float, ...]:
        """Return the place of a parameter's group in timm's order, as ``group_matcher(coarse=False)`` has it."""
        found = self._ask_for("group_matcher", name, name)
        return (float("inf"),) if found is None else tuple(found)

    def record(self, names: Sequence[str], ratios: Sequence[float] = RATIOS) -> None:
        """Ask everything that an inventory file keeps, so that :attr:`answers` holds it."""
        for hook in ("no_weight_decay", "no_weight_decay_keywords"):
            self._ask(hook)
        for ratio in ratios if "lr_decay_keywords" in self._live else ():
            self.lr_decay_keywords(ratio)
        for hook in ("get_layer_depth", "group_matcher"):
            for name in names if hook in self._live else ():
                self._ask_for(hook, name, name)

    def _ask(self, hook: str) -> list[str]:
        if hook not in self.answers:
            if hook not in self._live:
                return []
            self.answers[hook] = _checked(f"{hook}() of the model", hook, self._call(hook))
        found: list[str] = self.answers[hook]
        return found

    def _ask_for(self, hook: str, key: str, argument: Any) -> Any:
        known = self.answers.setdefault(hook, {})
        if key not in known:
            if hook not in self._live:
                raise ModelError(
                    f"this inventory does not know what {hook}({shown(argument)}) answers, only for: "
                    f"{listing(list(known), 10) or 'nothing'}. Write it again from the model with "
                    "`optimbuild inventory`" + (f" --ratio {argument}" if hook == "lr_decay_keywords" else "")
                )
            answer = self._group(argument) if hook == "group_matcher" else self._call(hook, argument)
            known[key] = _checked(f"{hook}({shown(argument)}) of the model", hook, answer)
        return known[key]

    def _group(self, name: str) -> Any:
        if self._place is None:
            self._place = _places(self._call("group_matcher", False))
        try:
            return self._place(name)
        except Exception as error:
            raise ModelError(
                f"what group_matcher() of the model answers raised {type(error).__name__} "
                f"for {shown(name)}: {shown(str(error), 200)}. Write `layers` by hand in layer_decay."
            ) from error

    def _call(self, hook: str, *arguments: Any) -> Any:
        try:
            return self._live[hook](*arguments)
        except (Exception, SystemExit) as error:
            asked = ", ".join(shown(a) for a in arguments)
            instead = "`hints: false` in no_decay" if hook.startswith("no_") else "`layers` by hand in layer_decay"
            raise ModelError(
                f"{hook}({asked}) of the model raised {type(error).__name__}: {shown(str(error), 200)}. "
                f"Mend the hook, or do without it: {instead}."
            ) from error


def _powers(ratio: float, known: Mapping[str, Mapping[str, float]]) -> dict[str, float] | None:
    """Return the factors for a ratio, or None unless all that is known are the same powers of each known ratio."""
    try:
        first, *others = [_exponents(float(text), factors) for text, factors in known.items()]
        return None if not first or any(each != first for each in others) else {k: ratio**n for k, n in first.items()}
    except (ValueError, ArithmeticError):  # no number, no logarithm, or a power beyond what a float holds
        return None


def _exponents(base: float, factors: Mapping[str, float]) -> dict[str, int] | None:
    """Return the powers of a ratio that all the factors are, or None where some factor is none."""
    exponents = {keyword: round(math.log(factor, base)) for keyword, factor in factors.items()}
    return exponents if all(base ** exponents[keyword] == factor for keyword, factor in factors.items()) else None


def checked_answers(hooks: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers of hooks as a file holds them, checked as the model's own would be.

    Raises:
        ModelError: An answer is of the wrong form.
    """
    checked: dict[str, Any] = {}
    for hook, answer in hooks.items():
        if hook.startswith("no_weight_decay"):
            checked[hook] = _checked(f"hooks.{hook}", hook, answer)
        elif isinstance(answer, Mapping) and all(isinstance(key, str) for key in answer):
            checked[hook] = {key: _checked(f"hooks.{hook}[{shown(key)}]", hook, found) for key, found in answer.items()}
        else:
            raise ModelError(f"hooks.{hook} must be an object, not {shown(answer)}")
    return checked


def _checked(where: str, hook: str, answer: Any) -> Any:
    """Return an answer as JSON data."""
    try:
        return _CHECKS[hook](answer)
    except Exception as error:
        raise ModelError(f"{where} answered {shown(answer)}: {shown(str(error), 200)}") from error


def _names(answer: Any) -> list[str]:
    if answer is None:
        return []
    names = [] if isinstance(answer, (str, bytes)) else list(answer)
    if isinstance(answer, (str, bytes)) or not all(isinstance(name, str) for name in names):
        raise TypeError("it must be a list or a set of names")
    return [canonical(name) for name in (sorted(names) if isinstance(answer, (set, frozenset)) else names)]


def _keywords(answer: Any) -> list[str]:
    keywords = _names(answer)
    if "" in keywords:  # among whole names it does no harm, and some models of timm have it there
        raise ValueError("an empty keyword is a piece of every name")
    return keywords


def _factors(answer: Any) -> dict[str, float]:
    if not isinstance(answer, Mapping):
        raise TypeError("it must be a mapping from a piece of a name to an LR factor")
    for keyword, factor in answer.items():
        if not isinstance(keyword, str) or not keyword or not finite(factor) or factor < 0:
            raise ValueError(f"{shown(keyword)}: {shown(factor)} is no LR factor for a piece of a name")
    factors = {canonical(keyword): float(factor) for keyword, factor in answer.items()}
    if "" in factors:
        raise ValueError("a keyword that only names a wrapper is a piece of every name")
    return factors


def _depth(answer: Any) -> list[int]:
    layer, layers = answer
    if not all(isinstance(n, int) and not isinstance(n, bool) for n in (layer, layers)) or not 0 <= layer < layers:
        raise ValueError("it must be the layer, counted from 0, and the number of layers")
    return [layer, layers]


def _place(answer: Any) -> list[float] | None:
    if answer is None:
        return None
    place = [float(n) for n in answer]
    if place == [float("inf")]:  # where a callable puts what it does not know
        return None
    if not place or not all(map(finite, place)):
        raise ValueError("it must be one or more numbers, by which layers are ordered")
    return place


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "no_weight_decay": _names,
    "no_weight_decay_keywords": _keywords,
    "lr_decay_keywords": _factors,
    "get_layer_depth": _depth,
    "group_matcher": _place,
}


def _places(matcher: Any) -> Callable[[str], Any]:
    """Return what gives a name its place in timm's order; None where nothing matches, which comes last."""
    if callable(matcher):
        return lambda name: found if isinstance(found := matcher(name), Iterable) else (found,)
    if not isinstance(matcher, Mapping):
        raise ModelError(f"group_matcher() of the model must answer with a mapping or a callable, not {shown(matcher)}")
    expressions: list[tuple[re.Pattern[str], int, Sequence[Any]]] = []
    for position, wanted in enumerate(matcher.values()):
        try:
            for expression, suffix in [(wanted, ())] if isinstance(wanted, (str, re.Pattern)) else wanted or ():
                expressions.append((re.compile(expression), position, suffix or ()))
        except (TypeError, ValueError, re.error, RecursionError, OverflowError) as error:
            raise ModelError(f"group_matcher() of the model answers {shown(wanted)}: {error}") from None

    def place(name: str) -> Any:
        for expression, position, suffix in expressions:
            found = expression.match(name)
            if found:
                return (position, *(group for group in found.groups() if group is not None), *suffix)
        return None

    return place
