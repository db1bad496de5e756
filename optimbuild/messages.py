"""Words for people: lists of names, values as text, suggestions of close names."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import traceback
import warnings
from collections.abc import Iterable, Sequence

from optimbuild.errors import OptimBuildWarning


def warn(text: str) -> None:
    """Warn at the line that called optimbuild, also where torch is in between, as in a step of an optimizer.

    Args:
        text: The warning.
    """
    frame, level = inspect.currentframe(), 1
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in ("optimbuild", "torch"):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, OptimBuildWarning, stacklevel=level)


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
    """Return at most ``n`` choices that resemble ``word``. Case-insensitive, best match first; ties keep their order.

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
    """Return the first ``limit`` names, and the number of others.

    >>> listing(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def shown(value: object, limit: int = 80) -> str:
    """Return the ``repr`` of a value on one line of at most ``limit`` characters.

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
    r"""Return the text with control characters, format characters and line breaks escaped.

    >>> printable("red \x1b[31m")
    'red \\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(count: int, thing: str) -> str:
    """Return a count with its noun.

    >>> counted(1, "tensor"), counted(1200, "tensor")
    ('1 tensor', '1200 tensors')
    """
    return f"{count} {thing}{'' if count == 1 else 's'}"


_HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")
_NOT_THE_AUTHORS = re.compile(r"^<|importlib|site-packages")


def place_raised(error: BaseException) -> str:
    """Return the file and line that raised an error, such as ``file.py:3``; empty if it is not from foreign code.

    The author's own code comes before that of installed packages, because that is where to look.
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_HERE)]
    authors = [frame for frame in frames if not _NOT_THE_AUTHORS.search(frame.filename)]
    return "".join(f"{frame.filename}:{frame.lineno}" for frame in (authors or frames)[-1:])
