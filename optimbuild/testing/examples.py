"""The examples in a docstring, such as ``{type: dcn_lr, factor: 0.1}``."""

from __future__ import annotations

import inspect
import re
from typing import Any

from optimbuild.config.parsing import parsed_yaml
from optimbuild.errors import ConfigError
from optimbuild.messages import shown

_EXAMPLE = re.compile(r"``(\{\s*type:.+?\})``", re.DOTALL)


def examples_of(name: str, documented: object) -> list[dict[str, Any]]:
    """Return the options in the examples of a docstring: what is in double backticks and has a ``type``.

    Args:
        name: The registered name; examples of another type are left out.
        documented: The class with the docstring.

    Raises:
        ConfigError: What should be an example is not YAML.

    >>> from optimbuild.registry import RULES
    >>> examples_of("dcn_lr", RULES.get("dcn_lr"))
    [{'factor': 0.1}]
    """
    found = []
    for text in _EXAMPLE.findall(inspect.getdoc(documented) or ""):
        try:
            example = parsed_yaml(text)
        except ValueError as error:
            raise ConfigError(f"the example {shown(text)} of {name!r} is not YAML: {error}") from None
        if isinstance(example, dict) and str(example.pop("type", "")).lower() == name.lower():
            found.append(example)
    return found
