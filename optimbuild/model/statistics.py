"""Running statistics: which batch norms belong to what is frozen."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import modules_of
from optimbuild.model.patterns import Pattern


def statistics_inside(model: Inventory, frozen: Collection[str], patterns: Iterable[Pattern]) -> list[str]:
    """Return the modules with running statistics that belong to the frozen part of a model.

    A module belongs to it where all of its own parameters are frozen, whichever of their names come first; one without
    any (``affine=False``) where a pattern covers it, or where all parameters of the module that it is in are frozen.

    Args:
        model: The model.
        frozen: The names of the frozen parameters, aliases left out.
        patterns: What was frozen.

    >>> from optimbuild import ParamInfo
    >>> names = ("stem.bn.weight", "stem.bn.bias", "head.weight")
    >>> model = Inventory([ParamInfo(name, (2,)) for name in names], statistics=("stem.bn", "stem.plain"))
    >>> statistics_inside(model, names[:2], [Pattern("stem")]), statistics_inside(model, names[:1], [])
    (['stem.bn', 'stem.plain'], [])
    """
    own: dict[str, list[str]] = {module: [] for module in model.statistics}
    for param in model if own else ():
        for module in modules_of(param):
            if module in own:
                own[module].append(param.name)
    covering = list(patterns)
    return [
        module
        for module, names in own.items()
        if all(name in frozen for name in names)
        and (names or any(p.matches(module) for p in covering) or _is_among_frozen(module, model, frozen))
    ]


def _is_among_frozen(module: str, model: Inventory, frozen: Collection[str]) -> bool:
    """Say whether the module that a module is in has parameters, and all of them are frozen; the model is no such."""
    above = module.rpartition(".")[0]
    beside = [param.name for param in model if above and any(name.startswith(f"{above}.") for name in param.names)]
    return bool(beside) and all(name in frozen for name in beside)
