"""Names of parameters: canonical, where wrappers leave no trace, and readable, where nothing garbles a report."""

from __future__ import annotations

import re
from collections.abc import Collection

from optimbuild.errors import ModelError
from optimbuild.messages import shown

WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""The children behind which torch.compile, activation checkpointing and FSDP1 keep the module that they wrap."""


def canonical(name: str) -> str:
    """Return a name, or a piece of one, without the segments that wrappers of submodules add.

    A hook that lists its model's own names sees them; a plan does not.

    >>> canonical("blocks.0._orig_mod.table")
    'blocks.0.table'
    """
    if not any(wrapped in name for wrapped in WRAPPED):
        return name
    return ".".join(segment for segment in name.split(".") if segment not in WRAPPED)


def modules_around(name: str) -> list[str]:
    """Return the names of the modules that a parameter is in, the outermost first; the model itself is left out.

    >>> modules_around("blocks.0.norm.weight")
    ['blocks', 'blocks.0', 'blocks.0.norm']
    """
    return [name[:place] for place, letter in enumerate(name) if letter == "."]


LONGEST = 1000
"""How many characters a name may have."""

_MARKUP = re.compile(r"\[[a-z/#@][^\[\]]*\]|<[a-zA-Z/!][^<>]*>")


def is_readable(text: object) -> bool:
    """Say whether a text is a short string without control characters and markup."""
    return isinstance(text, str) and len(text) <= LONGEST and not _is_garbling(text)


def refuse_unreadable(what: str, texts: Collection[str]) -> None:
    """Raise a ModelError for a name that is too long, or would garble logs and reports.

    Args:
        what: What is named, for the message.
        texts: The names.
    """
    joined = "".join(texts)
    if joined.isprintable() and "[" not in joined and "<" not in joined and len(max(texts, key=len)) <= LONGEST:
        return
    for text in texts:
        _refuse_unreadable(what, text)


def _refuse_unreadable(what: str, text: str) -> None:
    if len(text) > LONGEST:
        raise ModelError(f"{what} {shown(text)} has {len(text)} characters; at most {LONGEST} can be read")
    if _is_garbling(text):
        raise ModelError(
            f"{what} {shown(text)} holds control characters or markup, which would garble every log and report. "
            "Rename it in the model."
        )


def _is_garbling(text: str) -> bool:
    return not text.isprintable() or (("[" in text or "<" in text) and _MARKUP.search(text) is not None)
