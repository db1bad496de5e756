"""No weight decay for norms, biases and whatever else should not shrink."""

from __future__ import annotations

from optimbuild.edits import Edit, Edits
from optimbuild.messages import listing
from optimbuild.model import Inventory, ParamInfo
from optimbuild.model.conventions import is_vector, never_decayed
from optimbuild.registry import rule
from optimbuild.values import Keyword, Switch

MARK = "_no_weight_decay"


@rule("no_decay")
class NoDecay:
    """Set the weight decay of norms, biases, vectors and named parameters to 0.

    What the model asks for in ``no_weight_decay()`` and ``no_weight_decay_keywords()`` counts as well, and what any
    module inside it asks for below itself; the keywords match any piece of a name, as the projects that introduced
    them do (Swin Transformer, BEiT, InternImage). Each step says which cause it was.

    Example:
        ``{type: no_decay, keywords: [relative_position_bias_table]}``
    """

    norm: Switch = True
    """Parameters of normalization layers, by the type of the owning module; custom ``*Norm`` classes too."""
    bias: Switch = True
    """Parameters that are called ``bias`` in their module: the name ends in ``.bias``."""
    other_biases: Switch = True
    """Biases by another name: ``gate_up_proj_bias``, ``attention_biases``, ``relative_position_bias_table``."""
    one_dimensional: Switch = True
    """Parameters with at most one dimension."""
    vectors: Switch = True
    """Parameters in which all dimensions but one have length 1, such as a gain of shape (1, 1, 1, C). Weights of
    linear layers, convolutions and embeddings are none, whatever their shape."""
    names: tuple[Keyword, ...] = ()
    """Whole names."""
    keywords: tuple[Keyword, ...] = ()
    """Pieces of names."""
    hints: Switch = True
    """Whatever ``no_weight_decay()`` and ``no_weight_decay_keywords()`` of the model, and of modules in it, name."""
    marks: Switch = True
    """Tensors on which ``_no_weight_decay`` was set, as Mamba does."""

    def bind(self, model: Inventory) -> Edits:
        """Find each parameter's first cause, and ask the model for its hints."""
        edits = Edits(model)
        edits.reads(*[MARK] * self.marks)
        for cause, params in self._by_cause(model).items():
            edits.give(params, _because(cause))
        for i, name in enumerate(self.names):
            found = [model[name]] if name in model else []
            edits.give(found, _because(f"named {name!r} by the rule"), f"names[{i}]", name)
        for i, keyword in enumerate(self.keywords):
            found = model.containing(keyword)
            edits.give(found, _because(f"name contains {keyword!r}"), f"keywords[{i}]", keyword)
        if self.hints:
            self._follow_hints(edits)
        if forgotten := [param.name for param in edits.rest() if never_decayed(param)]:
            edits.note(f"decayed, though recipes for such models leave them out: {listing(forgotten)} (see `names`)")
        return edits

    def _by_cause(self, model: Inventory) -> dict[str, list[ParamInfo]]:
        found: dict[str, list[ParamInfo]] = {}
        for param in model:
            if (cause := self._cause(param)) is not None:
                found.setdefault(cause, []).append(param)
        return found

    def _cause(self, param: ParamInfo) -> str | None:
        """Return the first cause that is in the parameter itself."""
        called_bias = any(name.endswith(".bias") or name == "bias" for name in param.names)
        if self.norm and "norm" in param.kinds:
            return f"parameter of a normalization layer, {param.owner}"
        if self.bias and called_bias:
            return "bias"
        if self.one_dimensional and len(param.shape) <= 1:
            return "one-dimensional"
        if self.other_biases and "bias" in param.kinds and not called_bias:
            return f"bias: {param.evidence.get('bias', 'by another name')}"
        if self.vectors and is_vector(param) and not called_bias:
            return "vector: all dimensions but one have length 1"
        return f"its mark {MARK}" if self.marks and param.marks.get(MARK) else None

    def _follow_hints(self, edits: Edits) -> None:
        model, idle = edits.model, list[str]()
        for prefix, hints in model.hints.offering("no_weight_decay", "no_weight_decay_keywords"):
            for name in sorted(hints.no_weight_decay()):
                found = [model[prefix + name]] if prefix + name in model else []
                edits.give(found, _because(f"{hints.of}'s no_weight_decay() names it"))
                idle += [] if found else [prefix + name]
            for keyword in hints.no_weight_decay_keywords():
                found = model.containing(keyword, below=prefix)
                of = f"which {hints.of}'s no_weight_decay_keywords() gives"
                edits.give(found, _because(f"name contains {keyword!r}, {of}"))
                idle += [] if found else [f"{prefix}*{keyword}*"]
        if idle:
            edits.note(f"hints of the model that match nothing: {listing(idle)}")


def _because(why: str) -> Edit:
    return Edit(set={"weight_decay": 0.0}, why=why)
