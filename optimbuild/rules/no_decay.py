"""No weight decay for norms, biases and whatever else should not shrink."""

from __future__ import annotations

from collections.abc import Callable

from optimbuild.edits import Bound, Edit
from optimbuild.params import Inventory, ParamInfo
from optimbuild.patterns import keyword_in
from optimbuild.registry import rule
from optimbuild.spec import Switch
from optimbuild.values import Keyword


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
        hooks = inventory.hooks
        hinted = hooks.no_weight_decay() if self.hints else frozenset()
        hinted_keywords = hooks.no_weight_decay_keywords() if self.hints else ()
        edits: dict[str, Edit] = {}
        by_cause: dict[str, Edit] = {}
        names_any = bool(self.names or self.keywords or hinted or hinted_keywords)
        for param in inventory.params:
            cause = self._cause(param)
            if cause is None and names_any:
                cause = self._named(param, hinted, hinted_keywords)
            if cause is not None:
                edit = by_cause.get(cause)
                if edit is None:
                    edit = by_cause[cause] = Edit(set={"weight_decay": 0.0}, why=cause)
                edits[param.name] = edit
        patterns = [
            *(
                (f"names[{i}]", text, [inventory[text]] if text in inventory else [])
                for i, text in enumerate(self.names)
            ),
            *((f"keywords[{i}]", text, inventory.containing(text)) for i, text in enumerate(self.keywords)),
        ]
        return Bound(edits, patterns)

    def _cause(self, param: ParamInfo) -> str | None:
        if self.norm and "norm" in param.kinds:
            return f"parameter of a normalization layer, {param.owner}"
        if self.bias and (_is_bias(param.name) or any(map(_is_bias, param.aliases))):
            return "bias"
        if self.one_dimensional and len(param.shape) <= 1:
            return "one-dimensional"
        return None

    def _named(self, param: ParamInfo, hinted: frozenset[str], hinted_keywords: tuple[str, ...]) -> str | None:
        for name in param.names:
            if name in self.names:
                return f"named {name!r} by the rule"
            if keyword := keyword_in(name, self.keywords):
                return f"name contains {keyword!r}"
            if name in hinted:
                return "the model's no_weight_decay() names it"
            if keyword := keyword_in(name, hinted_keywords):
                return f"name contains {keyword!r}, which the model's no_weight_decay_keywords() gives"
        return None


def _is_bias(name: str) -> bool:
    return name.endswith(".bias") or name == "bias"
