"""Batch norms that keep their running statistics while the rest of the model trains."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from optimbuild.messages import listing, warn
from optimbuild.model.survey import Surveyed
from optimbuild.model.walk import unwrapped

CHILD = "kept_statistics"
"""The name of the child that keeps a norm in eval mode."""


class KeptStatistics(nn.Module):
    """A child of a norm that keeps the norm in eval mode.

    ``nn.Module.train`` sets the flag of a module and then calls ``train`` of its children; this child sets the flag
    of its norm back. So the running statistics stay as they are through every ``model.train()``, also in a copy, in a
    pickle, under DDP, FSDP and ``torch.compile``. It has neither parameters nor buffers, so a ``state_dict`` is the
    same without it; ``print(model)`` shows it.

    Args:
        norm: The norm.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.training = False
        self.norm = (norm,)  # in a tuple, because a module that is an attribute would be a child

    def train(self, mode: bool = True) -> KeptStatistics:
        """Set the norm to eval mode, whatever the mode of the model is."""
        del mode
        super().train(False)
        self.norm[0].training = False
        return self


def keep_statistics(surveyed: Surveyed, names: Sequence[str]) -> None:
    """Keep the running statistics of some norms. Norms that only an earlier build kept are released.

    Args:
        surveyed: The model.
        names: The names of the norms; those that are not in the model are left out.
    """
    if not names and KeptStatistics not in {type(module) for _, module in surveyed.walked}:
        return
    modules = surveyed.modules
    kept = {id(modules[name]): name for name in names if name in modules}
    for name, child in modules.items():
        if not isinstance(child, KeptStatistics):
            continue
        norm = modules[name.rpartition(".")[0]]
        if id(norm) not in kept or child.norm[0] is not norm:  # a child of a converted norm has the norm of before
            _give_back(norm, modules[""].training)
    for name in kept.values():
        norm = modules[name]
        if CHILD not in dict(norm.named_children()):
            norm.add_module(CHILD, KeptStatistics(norm))
    running = [name for name in kept.values() if not _stays_in_eval_mode(modules[name])]
    if running:
        warn(
            f"the running statistics of {listing(running, 5)} go on changing: train() of the class does not call "
            "train() of its children, as torch.nn.Module.train does"
        )


def _stays_in_eval_mode(norm: nn.Module) -> bool:
    """Set a norm to eval mode, and say whether its ``train`` leaves it there; modules inside it stay as they are."""
    modes = [(module, module.training) for module in norm.modules() if module is not norm]
    norm.train()
    stays = not norm.training
    norm.training = False
    for module, mode in modes:
        module.training = mode
    return stays


class KeptNorms:
    """The norms whose running statistics a build keeps, and where they are in the model, which may go.

    Args:
        places: By name the module above a norm, the norm's name there, and the norm.
    """

    def __init__(self, places: Mapping[str, tuple[nn.Module, str, nn.Module]]) -> None:
        self._places = {
            name: (weakref.ref(parent), key, weakref.ref(norm)) for name, (parent, key, norm) in places.items()
        }

    @classmethod
    def of(cls, modules: Mapping[str, nn.Module], names: Iterable[str]) -> KeptNorms:
        """Note where norms are.

        Args:
            modules: All modules of a model by canonical name.
            names: The names of the norms.
        """
        split = [(name, *name.rpartition(".")[::2]) for name in names if name and name in modules]
        return cls({name: (modules[parent], key, modules[name]) for name, parent, key in split})

    def __deepcopy__(self, memo: dict[int, Any]) -> KeptNorms:
        """Copy with the copied norms, where the model was copied before; the norms of another model are left out."""
        copied = {
            name: (memo.get(id(parent())), key, memo.get(id(norm())))
            for name, (parent, key, norm) in self._places.items()
        }
        return KeptNorms({name: (p, key, norm) for name, (p, key, norm) in copied.items() if p is not None and norm})

    def __getstate__(self) -> dict[str, Any]:
        return {"_places": {}}  # a pickled optimizer does not know a model

    def lost(self) -> str:
        """Return which statistics change although they should not, and why; empty where all are kept."""
        by_cause: dict[str, list[str]] = {}
        for name, place in self._places.items():
            if cause := _cause(*place):
                by_cause.setdefault(cause, []).append(name)
        if not by_cause:
            return ""
        found = [f"{listing(names, 5)} {cause}" for cause, names in by_cause.items()]
        return (
            f"running statistics that the plan keeps are changing: {'; '.join(found)}. Convert a model before "
            "build_optimizer, or build once more"
        )


def _cause(parent: weakref.ref[nn.Module], key: str, norm: weakref.ref[nn.Module]) -> str:
    """Return why the statistics of a norm change; empty where they do not, or where the norm is gone."""
    above = parent()
    child = None if above is None else above._modules.get(key)
    now = None if child is None else unwrapped(child)
    if now is None or not now.training:
        return ""
    if now is not norm():
        taken = "was replaced by another module, as SyncBatchNorm.convert_sync_batchnorm does"
        return taken if hasattr(now, "running_mean") else ""
    if CHILD not in now._modules:
        return "was given back, by give_back_statistics or by a later build whose plan does not keep it"
    return "was set to train mode without calling train()"


def give_back_statistics(model: nn.Module) -> list[str]:
    """Release the running statistics that a build keeps, and remove optimbuild's modules from a model.

    Call it before ``torch.save(model, path)`` of a whole model that must load without optimbuild, and before
    ``torch.optim.swa_utils.update_bn``, which resets all running statistics and expects all norms to learn them anew.

    Args:
        model: Any module.

    Returns:
        The names of the norms.

    >>> import torch
    >>> from optimbuild import build_optimizer
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))
    >>> rules = [{"type": "freeze", "patterns": ["0", "1"]}]
    >>> optimizer = build_optimizer({"optimizer": {"type": "sgd", "lr": 0.1}, "rules": rules}, model)
    >>> model.train()[1].training
    False
    >>> give_back_statistics(model), model.train()[1].training
    (['1'], True)
    """
    found = [(name, child) for name, child in model.named_modules() if isinstance(child, KeptStatistics)]
    parents = [name.partition(f".{CHILD}")[0] if "." in name else "" for name, _ in found]
    for name in parents:
        _give_back(model.get_submodule(name), model.training)
    return parents


def _give_back(norm: nn.Module, mode: bool) -> None:
    if CHILD in dict(norm.named_children()):
        delattr(norm, CHILD)
        norm.training = mode
