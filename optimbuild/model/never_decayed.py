"""Tokens and tables of positions, which published recipes never decay."""

from __future__ import annotations

import re
from functools import lru_cache

from optimbuild.model.param_info import ParamInfo

_NEVER_DECAYED = re.compile(
    r"^((\w+_)?tokens?(_\w+)?|(cls|class|dist|mask|query|level|seg)_?embed(ding)?s?|"
    r"(\w+_)?pos(ition|itional)?_?(emb|embed|embedding|embeddings|embeds|enc)(_\w+)?|emb_rel_\w+|"
    r"(relative|rel)_pos\w*|logit_scale|logit_bias|temperature|(layer_?scale|ls)\d*|gamma\w*|A_log|dt_bias)$",
    re.IGNORECASE,
)


def is_never_decayed(param: ParamInfo) -> bool:
    """Say whether published recipes leave such a parameter out of weight decay: tokens and tables of positions.

    >>> is_never_decayed(ParamInfo("vit.embeddings.position_embeddings", (1, 197, 768)))
    True
    >>> is_never_decayed(ParamInfo("bert.embeddings.position_embeddings.weight", (512, 768)))
    False
    """
    return _is_called_so(param.name.rpartition(".")[2])


@lru_cache(maxsize=4096)
def _is_called_so(name: str) -> bool:
    return _NEVER_DECAYED.search(name) is not None
