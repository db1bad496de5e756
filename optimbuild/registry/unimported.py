"""Names of optimizers, read from the files of packages that are not imported: importing torch takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

MMENGINE_CALLS = {"Adafactor": "TorchAdafactor"}
"""By torch's name of an optimizer how MMEngine registers it, where that is something else."""


def names_from_torch() -> list[str]:
    """Return the names by which MMEngine registers the optimizers of torch, sorted. Nothing is imported.

    >>> [name for name in names_from_torch() if name.endswith("SGD")]
    ['ASGD', 'SGD']
    """
    spec = importlib.util.find_spec("torch")
    folders = () if spec is None else spec.submodule_search_locations or ()
    files = [Path(folder) / "optim" / "__init__.py" for folder in folders]
    found = [name for file in files if file.is_file() for name in _classes_imported(file.read_text("utf-8"))]
    return sorted(MMENGINE_CALLS.get(name, name) for name in found if name != "Optimizer")


def _classes_imported(source: str) -> list[str]:
    """Return the classes that ``torch/optim/__init__.py`` imports from its own modules."""
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    own = [node for node in imports if node.level or (node.module or "").startswith("torch.optim.")]
    names = [alias.asname or alias.name for node in own for alias in node.names]
    return [name for name in names if name[0].isupper()]
