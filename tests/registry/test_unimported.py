"""Names that are read from files are those that an import would give."""

from __future__ import annotations

from mmengine.registry.root import OPTIMIZERS

from optimbuild.registry import fill
from optimbuild.registry.unimported import names_from_torch


def test_the_names_from_torchs_file_are_those_that_mmengine_registers() -> None:
    fill(OPTIMIZERS)
    entries = OPTIMIZERS.module_dict.items()
    of_torch = sorted(name for name, cls in entries if f"{cls.__module__}.".startswith("torch.optim."))
    assert names_from_torch() == sorted(set(of_torch) - {"Optimizer"})
