"""Batch norms that keep their running statistics while the rest of the model trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

CHILD = "kept_statistics"
"""The name of the child that keeps a norm in eval mode."""


class KeptStatistics(nn.Module):
    """A child of a norm that keeps the norm in eval mode.

    ``nn.Module.train`` sets the flag of a module and then calls ``train`` of its children; this child sets the flag
    of its norm back. So the running statistics stay as they are through every ``model.train()``, also in a copy, a
    pickle, under DDP and under ``torch.compile``. It has neither parameters nor buffers, so a ``state_dict`` does not
    show it; ``print(model)`` does.

    Args:
        norm: The norm.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = (norm,)  # in a tuple, because a module that is an attribute would be a child

    def train(self, mode: bool = True) -> KeptStatistics:
        """Set the norm to eval mode, whatever the mode of the model is."""
        del mode
        super().train(False)
        self.norm[0].training = False
        return self


def keep_statistics(modules: Mapping[str, nn.Module], names: Iterable[str]) -> None:
    """Keep norms in eval mode through every later ``model.train()``.

    Args:
        modules: The modules of a model, by canonical name.
        names: The names of the norms.
    """
    for name in names:
        norm = modules[name]
        norm.add_module(CHILD, KeptStatistics(norm))
        norm.train()
