"""Canonical names: those that wrappers of modules leave no trace in."""

from __future__ import annotations

import re

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


_MARKUP = re.compile(r"\[[a-z/#@][^\[\]]*\]|<[a-zA-Z/!][^<>]*>")


LONGEST = 1000
"""How many characters a name may have."""


_PRINTABLE = bytes(range(32, 127))


def _garbles(text: str) -> bool:
    # of many names it takes a fifth of the time to see that they are all ASCII, and what is left without its characters
    printable = not text.encode().translate(None, _PRINTABLE) if text.isascii() else text.isprintable()
    return not printable or (("[" in text or "<" in text) and _MARKUP.search(text) is not None)


def _refuse_unreadable(what: str, text: str) -> None:
    if len(text) > LONGEST:
        raise ModelError(f"{what} {shown(text)} has {len(text)} characters; at most {LONGEST} can be read")
    if _garbles(text):
        raise ModelError(
            f"{what} {shown(text)} holds control characters or markup, which would garble every log and report. "
            "Rename it in the model."
        )
