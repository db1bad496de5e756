"""Modules whose whole names a regular expression matches, and the parameters inside."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from optimbuild.errors import ModelError
from optimbuild.messages import listing, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo, modules_around, modules_of
from optimbuild.model.patterns import MAX_LENGTH, REGEX, Pattern


def _is_expression(text: str) -> str:
    _compiled(text)
    return text


def _compiled(text: str) -> re.Pattern[str]:
    """Return a regular expression, compiled.

    Raises:
        ValueError: It is empty, too long, or none.
    """
    if not text or len(text) > MAX_LENGTH:
        raise ValueError(f"a regular expression must have 1 to {MAX_LENGTH} characters, not {len(text)}")
    return Pattern(REGEX + text).regex


ModuleText = Annotated[str, AfterValidator(_is_expression)]
"""A regular expression over the whole names of modules; one that does not compile is refused."""


class Found(NamedTuple):
    """The parameters inside modules that regular expressions match.

    Args:
        params: For each expression the parameters inside the modules that it matches.
        repeated: The names of those that are in several of these modules, or in one that is given twice.
    """

    params: list[list[ParamInfo]]
    repeated: list[str]

    @property
    def told(self) -> list[str]:
        """A note about the parameters that are given more than once; none where there are none."""
        return [f"given more than once, and trained once: {listing(self.repeated)}"] * bool(self.repeated)


def inside_matching(model: Inventory, expressions: Sequence[str]) -> Found:
    r"""Return what is inside the modules whose whole names regular expressions match; that of the model is empty.

    Args:
        model: The model.
        expressions: Regular expressions, such as ``unet``, which is that module, or ``.*\.lora``.

    >>> model = Inventory([ParamInfo(name, (2,)) for name in ("unet.a.w", "unet.b.w", "vae.w")])
    >>> found = inside_matching(model, ["unet", r".*\.b"])
    >>> [[param.name for param in params] for params in found.params], found.repeated
    ([['unet.a.w', 'unet.b.w'], ['unet.b.w']], ['unet.b.w'])
    """
    inside: dict[str, dict[str, ParamInfo]] = {}
    for param in model:
        for name in param.names:
            for module in modules_around(name):
                inside.setdefault(module, {})[param.name] = param
    found: list[list[ParamInfo]] = []
    counts = Counter[str]()
    for expression in expressions:
        matches = _compiled(expression).fullmatch
        matched = [params for module, params in inside.items() if matches(module)]
        found.append(list({name: param for params in matched for name, param in params.items()}.values()))
        counts.update(name for params in matched for name in params)
    return Found(found, [name for name, count in counts.items() if count > 1])


def part_inside(model: Inventory, expressions: Sequence[str]) -> tuple[Inventory, list[str]]:
    """Return the part of a model that is inside modules, under its names there, and warnings.

    Args:
        model: The model.
        expressions: Regular expressions over the whole names of modules.

    Raises:
        ModelError: None of them matches a module with parameters.

    >>> model = Inventory([ParamInfo(name, (2,)) for name in ("unet.w", "vae.w")])
    >>> part, warnings = part_inside(model, ["un.*", "text"])
    >>> part.names, warnings
    (('unet.w',), ["no module is called 'text'"])
    """
    found = inside_matching(model, expressions)
    missing = [text for text, params in zip(expressions, found.params, strict=True) if not params]
    told = [f"no module is called {listing([shown(text) for text in missing])}"] * bool(missing)
    if len(missing) == len(expressions):
        parts = dict.fromkeys([name.partition(".")[0] for name in model.names])
        raise ModelError(f"{told[0]}; {model.model or 'the model'} consists of: {listing(list(parts), 5)}")
    names = {param.name for params in found.params for param in params}
    params = tuple([param for param in model if param.name in names])
    owners = {module for param in params for module in modules_of(param)}
    part = replace(
        model,
        params=params,
        unfused=model.unfused & names,
        sharded=model.sharded & names,
        statistics=tuple([module for module in model.statistics if module in owners]),
        outputs={name: method for name, method in model.outputs.items() if name in names},
        frozen=model.frozen & names,
    )
    return part, [*told, *found.told]
