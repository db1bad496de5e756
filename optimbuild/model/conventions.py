"""Conventions of published recipes: which tensors are vectors, and which are never decayed."""

from __future__ import annotations

import re

from optimbuild.model.kinds import role_of
from optimbuild.model.param_info import ParamInfo

_NEVER_DECAYED = re.compile(
    r"^((cls|class|dist|distillation|mask|register|reg|query|storage)_?(tokens?|embed(ding)?s?)|"
    r"(absolute_|abs_)?pos(ition|itional)?_?(emb|embed|embedding|embeddings|embeds)(_\w+)?|"
    r"(relative|rel)_pos\w*|logit_scale|logit_bias|temperature|(layer_?scale|ls)\d*|gamma\w*)$",
    re.IGNORECASE,
)
_WEIGHTS = frozenset(("linear", "conv", "embedding"))


def is_vector(param: ParamInfo) -> bool:
    """Say whether a parameter is a vector in another shape: all dimensions but one have length 1.

    The weight of a linear layer, a convolution or an embedding is none, whatever its shape: one output is no vector.

    >>> is_vector(ParamInfo("grn.gamma", (1, 1, 1, 96))), is_vector(ParamInfo("pos_embed", (1, 197, 768)))
    (True, False)
    """
    if len(param.shape) < 2 or sum([size != 1 for size in param.shape]) > 1:
        return False
    own = param.name.rpartition(".")[2]
    is_weight = own == "weight" or (own == "original" and role_of(param.name) == "weight")
    return not is_weight or param.kinds.isdisjoint(_WEIGHTS)


def never_decayed(param: ParamInfo) -> bool:
    """Say whether published recipes leave such a parameter out of weight decay: tokens and tables of positions.

    >>> never_decayed(ParamInfo("vit.embeddings.position_embeddings", (1, 197, 768)))
    True
    >>> never_decayed(ParamInfo("bert.embeddings.position_embeddings.weight", (512, 768)))
    False
    """
    return _NEVER_DECAYED.search(param.name.rpartition(".")[2]) is not None
