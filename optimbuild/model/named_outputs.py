"""The outputs that a model's own methods name: the layers whose answer is the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from torch import nn

METHODS = ("get_output_embeddings", "get_classifier")
"""The methods of models of Hugging Face and timm that return the layer."""


def named_outputs(modules: Sequence[tuple[str, nn.Module]], names: Mapping[int, str]) -> dict[str, str]:
    """Return by parameter name the method that names it as a part of the output.

    A method that raises, or that returns no module, names nothing: models inherit these methods, whether they have
    such a layer or not.

    Args:
        modules: All modules of a model.
        names: The names of parameters, by the ids of their tensors.
    """
    found: dict[str, str] = {}
    naming = {cls: methods for cls in {type(module) for _, module in modules} if (methods := _methods(cast(Any, cls)))}
    for _, module in modules if naming else ():
        for method in naming.get(type(module), ()):
            for layer in _answer(module, method):
                found |= {names[id(tensor)]: f"{method}()" for tensor in layer.parameters() if id(tensor) in names}
    return found


def _answer(module: nn.Module, method: str) -> list[nn.Module]:
    try:
        answer = getattr(module, method)()
    except Exception:  # noqa: BLE001  # as the docstring above says
        return []
    layers = answer if isinstance(answer, (tuple, list, nn.ModuleList)) else (answer,)
    return [layer for layer in layers if isinstance(layer, nn.Module) and layer is not module]


@lru_cache(maxsize=4096)
def _methods(cls: Any) -> tuple[str, ...]:
    return tuple([method for method in METHODS if callable(getattr(cls, method, None))])
