"""No weight decay for norms, biases and whatever else should not shrink."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from optimbuild.edits import Bound, Edit
from optimbuild.model._columns import Column, Params
from optimbuild.model.inventory import Inventory
from optimbuild.model.keywords import keyword_in
from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import rule
from optimbuild.values import Keyword, Switch


@rule("no_decay")
class NoDecay:
    """Set the weight decay of norms, biases, vectors and named parameters to 0.

    What the model asks for in ``no_weight_decay()`` and ``no_weight_decay_keywords()`` counts as
    well; the keywords match any piece of a name, as the projects that introduced them do (Swin
    Transformer, BEiT, InternImage). Each step says which cause it was.

    Example:
        ``{type: no_decay, keywords: [relative_position_bias_table]}``
    """

    norm: Switch = True
    """Parameters of normalization layers, by the type of the owning module; custom ``*Norm`` classes too."""
    bias: Switch = True
    """Parameters that are called ``bias`` in their module: the name ends in ``.bias``."""
    one_dimensional: Switch = True
    """Parameters with at most one dimension."""
    names: tuple[Keyword, ...] = ()
    """Whole names."""
    keywords: tuple[Keyword, ...] = ()
    """Pieces of names."""
    hints: Switch = True
    """Whatever the model's own ``no_weight_decay()`` and ``no_weight_decay_keywords()`` name."""

    def bind(self, inventory: Inventory) -> Callable[[ParamInfo], Edit | None]:
        """Ask the model for its hints, and find each parameter's first cause."""
        params, hooks = inventory.columns, inventory.hooks
        hinted = hooks.no_weight_decay() if self.hints else frozenset()
        hinted_keywords = hooks.no_weight_decay_keywords() if self.hints else ()
        causes = self._causes(params)
        if self.names or self.keywords or hinted or hinted_keywords:
            rows = zip(causes, params.names, params.aliases, strict=True)
            causes = [
                self._named((name, *aliases), hinted, hinted_keywords) if cause is None else cause
                for cause, name, aliases in rows
            ]
        number = {cause: place for place, cause in enumerate(dict.fromkeys([None, *causes]))}
        edits = [None if cause is None else Edit(set={"weight_decay": 0.0}, why=cause) for cause in number]
        column = Column(params.names, list(map(number.__getitem__, causes)), edits)
        patterns = [
            *(
                (f"names[{i}]", text, [inventory[text]] if text in inventory else [])
                for i, text in enumerate(self.names)
            ),
            *((f"keywords[{i}]", text, inventory.containing(text)) for i, text in enumerate(self.keywords)),
        ]
        return Bound(column, patterns)

    def _causes(self, params: Params) -> list[str | None]:
        """Return for each parameter the first cause that does not look at names that somebody listed."""
        norm, bias, vector = self.norm, self.bias, self.one_dimensional
        causes: list[str | None] = []
        for name, shape, sort, aliases in zip(params.names, params.shapes, params.sorts, params.aliases, strict=True):
            if norm and "norm" in sort.kinds:
                causes.append(_of_norm(sort.owner))
            elif bias and (name.endswith(".bias") or name == "bias" or (aliases and any(map(_is_bias, aliases)))):
                causes.append("bias")
            elif vector and len(shape) <= 1:
                causes.append("one-dimensional")
            else:
                causes.append(None)
        return causes

    def _named(self, names: tuple[str, ...], hinted: frozenset[str], hinted_keywords: tuple[str, ...]) -> str | None:
        for name in names:
            if name in self.names:
                return f"named {name!r} by the rule"
            if keyword := keyword_in(name, self.keywords):
                return f"name contains {keyword!r}"
            if name in hinted:
                return "the model's no_weight_decay() names it"
            if keyword := keyword_in(name, hinted_keywords):
                return f"name contains {keyword!r}, which the model's no_weight_decay_keywords() gives"
        return None


@lru_cache(maxsize=4096)
def _of_norm(owner: str) -> str:
    return f"parameter of a normalization layer, {owner}"


def _is_bias(name: str) -> bool:
    return name.endswith(".bias") or name == "bias"
