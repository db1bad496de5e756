"""The answers of hooks: their form, checked, and what follows from them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from optimbuild.errors import ModelError
from optimbuild.messages import shown
from optimbuild.model.names import canonical
from optimbuild.values import finite


def powers(ratio: float, known: Mapping[str, Mapping[str, float]]) -> dict[str, float] | None:
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


def checked_answer(where: str, hook: str, answer: Any) -> Any:
    """Return the answer of a hook as JSON data.

    Args:
        where: The hook, for messages.
        hook: Its name.
        answer: What it answered.

    Raises:
        ModelError: The answer is of the wrong form.
    """
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


def timm_places(matcher: Any, of: str) -> Callable[[str], Any]:
    """Return what gives a name its place in timm's order; None where nothing matches, which comes last.

    Args:
        matcher: What ``group_matcher()`` answered.
        of: The module that answered, for messages.

    Raises:
        ModelError: The answer is of the wrong form.
    """
    if callable(matcher):
        return lambda name: found if isinstance(found := matcher(name), Iterable) else (found,)
    if not isinstance(matcher, Mapping):
        raise ModelError(f"group_matcher() of {of} must answer with a mapping or a callable, not {shown(matcher)}")
    expressions: list[tuple[re.Pattern[str], int, Sequence[Any]]] = []
    for position, wanted in enumerate(matcher.values()):
        try:
            for expression, suffix in [(wanted, ())] if isinstance(wanted, (str, re.Pattern)) else wanted or ():
                expressions.append((re.compile(expression), position, suffix or ()))
        except (TypeError, ValueError, re.error, RecursionError, OverflowError) as error:
            raise ModelError(f"group_matcher() of {of} answers {shown(wanted)}: {error}") from None

    def place(name: str) -> Any:
        for expression, position, suffix in expressions:
            found = expression.match(name)
            if found:
                return (position, *(group for group in found.groups() if group is not None), *suffix)
        return None

    return place
