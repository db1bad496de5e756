"""Every error that a user can cause, and the words that they share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence


class OptimBuildError(Exception):
    """The root of every error that optimbuild raises on purpose.

    The message says what was given, where it stands, and what would be right.

    >>> issubclass(ConfigError, OptimBuildError) and issubclass(ModelError, OptimBuildError)
    True
    """


class ConfigError(OptimBuildError, ValueError):
    """A config that cannot be read, or asks for something that does not exist.

    Args:
        message: What is wrong and what would be right.
        path: The key's path in the config, such as ``rules[1].ratio``.

    >>> print(ConfigError("must be positive", path="rules[1].ratio"))
    rules[1].ratio: must be positive
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path

    def moved(self, paths: Mapping[str, str]) -> ConfigError:
        """Return the same error with its path in another dialect.

        Args:
            paths: Where keys of the canonical config stand in that dialect; the longest one that fits counts.

        >>> print(ConfigError("must be positive", "rules[1].ratio").moved({"rules[1]": "TRAIN.LR_LAYER_DECAY"}))
        TRAIN.LR_LAYER_DECAY.ratio: must be positive
        """
        fitting = [ours for ours in paths if self.path == ours or self.path.startswith((f"{ours}.", f"{ours}["))]
        if not fitting:
            return self
        ours = max(fitting, key=len)
        return type(self)(self.message, paths[ours] + self.path[len(ours) :])


class UnknownNameError(ConfigError):
    """A name that no registry knows."""


class RegistrationError(OptimBuildError):
    """A rule or optimizer that cannot be registered, such as a name that is taken."""


class ModelError(OptimBuildError):
    """A model, an inventory file, or a hook of a model that cannot be used."""


class CheckpointError(OptimBuildError, ValueError):
    """Optimizer state that cannot be saved, is damaged, or does not fit the optimizer that shall resume."""


class MissingPackageError(OptimBuildError, ImportError):
    """Something that was asked for needs a package that is not installed."""


class OptimBuildWarning(UserWarning):
    """Something that goes on, but that its user should know."""


def suggest(word: str, choices: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or nothing where no choice is close.

    >>> suggest("adamv", ["adamw", "sgd"])
    " Did you mean 'adamw'?"
    >>> suggest("zebra", ["adamw", "sgd"])
    ''
    """
    close = closest(word, choices)
    if not close:
        return ""
    return f" Did you mean {' or '.join(repr(name) for name in close)}?"


def closest(word: str, choices: Iterable[str], n: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return at most ``n`` choices that resemble ``word``, best first, whatever their case; of equals the first one.

    >>> closest("adamv", ["adamw", "RAdam", "NAdam", "Adam"])
    ['Adam', 'adamw', 'RAdam']
    """
    folded = word[:200].lower()
    by_folded: dict[str, str] = {}
    for choice in choices:
        by_folded.setdefault(choice.lower(), choice)
    found = difflib.get_close_matches(folded, by_folded, n=10 * n, cutoff=cutoff)
    places = {name: place for place, name in enumerate(by_folded)} if len(found) > 1 else {}
    found.sort(key=lambda name: (-difflib.SequenceMatcher(None, name, folded).ratio(), places.get(name, 0)))
    return [by_folded[name] for name in found[:n]]


def listing(names: Sequence[str], limit: int = 20) -> str:
    """Return the names, the first ``limit`` of them, and how many more there are.

    >>> listing(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def shown(value: object, limit: int = 80) -> str:
    """Return the ``repr`` of a value on one line, cut where it is long.

    >>> shown("x" * 100, limit=10)
    "'xxxxxx..."
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # a broken __repr__ must not hide the real mistake
        text = f"<{type(value).__name__}>"
    text = printable(text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."


def printable(text: str) -> str:
    r"""Return the text with everything escaped that a terminal would obey: control and format characters, line breaks.

    >>> printable("red \x1b[31m")
    'red \\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
