"""No weight decay for norms, biases and whatever else should not shrink."""

from __future__ import annotations

from optimbuild.edits import Edit, Edits
from optimbuild.messages import listing
from optimbuild.model import Inventory, ParamInfo
from optimbuild.model.conventions import causes_not_to_decay, hinted_not_to_decay
from optimbuild.model.marks import NO_DECAY
from optimbuild.model.never_decayed import is_never_decayed
from optimbuild.registry import rule
from optimbuild.values import Keyword, Switch

NEW = ("other_biases", "vectors", "marks", "inner_hints")
"""The switches that are new in release 0.2."""


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
    """Parameters that are vectors in another shape: all dimensions but one have length 1, as in a gain of shape
    (1, 1, 1, C). On by default. Weights of linear layers, convolutions and embeddings are never taken for vectors: one
    output channel makes none. Switch it off to repeat a run of code that spares one-dimensional tensors only."""
    names: tuple[Keyword, ...] = ()
    """Whole names."""
    keywords: tuple[Keyword, ...] = ()
    """Pieces of names."""
    hints: Switch = True
    """Whatever ``no_weight_decay()`` and ``no_weight_decay_keywords()`` of the model, and of modules in it, name."""
    inner_hints: Switch = True
    """Whether modules inside the model are asked for hints as well, such as a Swin backbone inside a detector. On by
    default. Switch it off to repeat a run of code that asks the outermost model alone, as timm does. Without ``hints``
    it does nothing."""
    marks: Switch = True
    """Tensors on which ``_no_weight_decay`` was set, as Mamba does."""
    decay_scalars: Switch = False
    """Decay tensors without dimensions, as published builders do that ask for exactly one dimension."""
    first_names: Switch = False
    """Judge a shared tensor by its first name alone, as published builders do."""

    def bind(self, model: Inventory) -> Edits:
        """Find each parameter's first cause, and ask the model for its hints."""
        edits = Edits(model)
        edits.reads(*[NO_DECAY] * self.marks)
        causes = causes_not_to_decay(model, {option for option, value in vars(self).items() if value is True})
        for (option, why), params in causes.items():
            if option not in NEW:
                edits.give(params, _because(why))
        for i, name in enumerate(self.names):
            named = [model[name]] if name in model else []
            edits.give(named, _because(f"named {name!r} by the rule"), f"names[{i}]", name)
        for i, keyword in enumerate(self.keywords):
            named = [p for p in model.containing(keyword) if not self.first_names or keyword in p.name]
            edits.give(named, _because(f"name contains {keyword!r}"), f"keywords[{i}]", keyword)
        hinted = list(hinted_not_to_decay(model, self.inner_hints)) if self.hints else []
        steps = [(hint.why, hint.params, hint.inner) for hint in hinted]
        steps += [(why, params, True) for (_, why), params in causes.items()]  # only the new ones are left
        given: list[ParamInfo] = []
        for why, found, is_new in steps:
            given += [param for param in found if is_new and not edits[param.name]]
            edits.give(found, _because(why))
        if idle := [hint.hint for hint in hinted if not hint.params]:
            edits.note(f"hints of the model that match nothing: {listing(idle)}")
        forgotten = filter(is_never_decayed, edits.rest())
        edits.note("decayed, though recipes for such models leave them out (see `names`)", forgotten, "weight_decay")
        edits.note(f"no longer decayed since 0.2 (switches: {', '.join(NEW)})", given, "weight_decay")
        return edits


def _because(why: str) -> Edit:
    return Edit(set={"weight_decay": 0.0}, why=why)
