"""The rows of docs/coming-from/torchtitan.md: torchtitan's container and ours train alike.

CI does not install torchtitan, so these are among what is run where it is asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.coming_from.tables import base, changed, differing, ours, rows, trained

pytestmark = pytest.mark.slow
BATCH = torch.arange(8).reshape(2, 4)


def model() -> nn.Module:
    torch.manual_seed(0)
    parts = OrderedDict(tok_embeddings=nn.Embedding(8, 4), norm=nn.LayerNorm(4), output=nn.Linear(4, 8))
    return nn.Sequential(parts)


def titans(call: str) -> Callable[[nn.Module], torch.optim.Optimizer]:
    optimizer: Any = pytest.importorskip("torchtitan.components.optimizer")

    def group(pattern: str, name: str, **options: Any) -> Any:
        return optimizer.ParamGroupConfig(pattern=pattern, optimizer_name=name, optimizer_kwargs=options)

    names = {"Config": optimizer.OptimizersContainer.Config, "default_adamw": optimizer.default_adamw, "group": group}
    config = eval(call, names)
    return lambda model: optimizer.OptimizersContainer(config, model_parts=[model])


@pytest.mark.parametrize(("theirs", "here"), [("default_adamw(lr=8e-4)", "{}"), *rows("torchtitan", "torchtitan")])
def test_a_row_for_torchtitan_trains_what_torchtitan_trains(theirs: str, here: str) -> None:
    found = trained(model(), ours(changed(base("torchtitan"), here)), BATCH)
    assert differing(found, trained(model(), titans(theirs), BATCH)) == []
