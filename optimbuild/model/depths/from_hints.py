"""Depths as a model answers, or the parts of it that have an answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from optimbuild.errors import ModelError
from optimbuild.messages import listing
from optimbuild.model.depths.depths import Depths
from optimbuild.model.hints import Hints
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

DEPTH_HOOKS = ("lr_decay_keywords", "get_layer_depth", "group_matcher")
"""The hooks that tell depths, in the order in which a module is asked: InternImage's, MMPretrain's, timm's."""

TOGETHER = 99999
"""Timm's mark for a layer that belongs to the one before it."""

NOWHERE = (float("inf"),)
"""The place in timm's order of what a matcher does not match."""


@dataclass(frozen=True)
class Part:
    """A module that tells the depths of the parameters below it.

    Args:
        prefix: What the names of its parameters begin with; nothing for the whole model.
        hints: Its hints.
        hook: The hook that it is asked.
        params: Its parameters, but for those of a part inside it.
    """

    prefix: str
    hints: Hints
    hook: str
    params: Sequence[ParamInfo]

    @property
    def own_names(self) -> list[str]:
        """What the module itself calls its parameters."""
        if not self.prefix:
            return [param.name for param in self.params]
        return [self.own_name(param) for param in self.params]

    def own_name(self, param: ParamInfo) -> str:
        """Return what the module itself calls a parameter."""
        return _own_name(param, self.prefix)


def parts(model: Inventory) -> list[Part]:
    """Return the parts of a model that tell depths, the nearest one for each parameter.

    A part without a trainable parameter does not count, and neither does one that the config freezes, where another one
    is trained. Timm's matchers place their inner models on purpose, so a matcher inside counts only where the one above
    it leaves its parameters out.
    """
    asked = dict(model.hints.offering(*DEPTH_HOOKS))
    if list(asked) == [""]:
        return [Part("", asked[""], _hook(asked[""]), model.params)]
    found: dict[str, list[ParamInfo]] = {prefix: [] for prefix in asked}
    nearest_first = sorted(asked, key=len, reverse=True)
    for param in model if asked else ():
        homes = [home for name in param.names if (home := _nearest(name, asked)) is not None]
        home = max(homes, key=len, default=None)
        if home is not None:
            found[home].append(param)
    for prefix in nearest_first:
        above = next((p for p in nearest_first if len(p) < len(prefix) and prefix.startswith(p)), None)
        if above is not None and _is_placed(asked[above], above, asked[prefix], found[prefix]):
            found[above] += found.pop(prefix)
    order = {name: position for position, name in enumerate(model.names)}
    made = [
        Part(prefix, asked[prefix], _hook(asked[prefix]), sorted(params, key=lambda param: order[param.name]))
        for prefix, params in found.items()
        if any(param.trainable for param in params)
    ]
    trained = {param.name for param in model.trained}
    return [part for part in made if any(param.name in trained for param in part.params)] or made


def _nearest(name: str, asked: Collection[str]) -> str | None:
    """Return the longest beginning of a name that is among those of the parts; None where none is."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        prefix = f"{path}." if path else ""
        if prefix in asked:
            return prefix
    return None


def _hook(hints: Hints) -> str:
    return next(hook for hook in DEPTH_HOOKS if hints.offers(hook))


def _is_placed(above: Hints, prefix: str, inner: Hints, params: Sequence[ParamInfo]) -> bool:
    """Say whether a matcher of timm places all parameters of a matcher inside."""
    if not params or {_hook(above), _hook(inner)} != {"group_matcher"}:
        return False
    return all(above.group_of(_own_name(param, prefix)) != NOWHERE for param in params)


def _own_name(param: ParamInfo, prefix: str) -> str:
    """Return what a module calls a parameter of which a name begins with the module's."""
    if param.name.startswith(prefix):
        return param.name[len(prefix) :]
    return next(name for name in param.aliases if name.startswith(prefix))[len(prefix) :]


def depths_of(part: Part) -> Depths:
    """Return the depths of a part whose hook is ``get_layer_depth`` or ``group_matcher``."""
    return _from_layer_depth(part) if part.hook == "get_layer_depth" else _from_group_matcher(part)


def _from_layer_depth(part: Part) -> Depths:
    """Ask ``get_layer_depth(name)``, as MMPretrain's models answer it."""
    found = {param.name: part.hints.get_layer_depth(part.own_name(param)) for param in part.params}
    counts = {layers for _, layers in found.values()}
    if len(counts) > 1:
        raise ModelError(f"get_layer_depth of {part.hints.of} gives different numbers of layers: {sorted(counts)}")
    source = f"{part.hints.of}'s get_layer_depth(name)"
    return Depths({name: layer for name, (layer, _) in found.items()}, counts.pop(), source)


def _from_group_matcher(part: Part) -> Depths:
    """Ask timm's ``group_matcher(coarse=False)``, and order its groups as timm does."""
    found = {param.name: part.hints.group_of(part.own_name(param)) for param in part.params}
    layer_of_group: dict[tuple[float, ...], int] = {}
    layer = -1
    for group in sorted(set(found.values())):
        if layer < 0 or group[-1] != TOGETHER:
            layer += 1
        layer_of_group[group] = layer
    rest = [name for name, group in found.items() if group == NOWHERE]
    source = f"{part.hints.of}'s group_matcher()"
    source += f"; what it does not match is on top: {listing(rest)}" if rest else ""
    return Depths({name: layer_of_group[group] for name, group in found.items()}, layer + 1, source)


def outside(model: Inventory, found: Sequence[Part]) -> list[ParamInfo]:
    """Return the trained parameters that no part holds."""
    inside = {param.name for part in found for param in part.params}
    return [param for param in model.trained if param.name not in inside]


def idle_keywords(part: Part, unused: Sequence[str]) -> list[str]:
    """Return the keywords that are in no name of a part.

    Args:
        part: The part.
        unused: Keywords that give nothing a factor; some are in names that an earlier keyword takes.
    """
    text = "\n".join([name for param in part.params for name in param.names]) if unused else ""
    return [keyword for keyword in unused if keyword not in text]
