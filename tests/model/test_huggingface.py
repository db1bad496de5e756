"""No decay on the architectures of Hugging Face: what is left out, and why the Trainer's list differs."""

from __future__ import annotations

from importlib.metadata import version

import pytest
from torch import nn

from tests.golden_cases import ROOT
from tests.huggingface import FAMILIES, Compared, compared, row

DOCS = (ROOT / "docs/coming-from/huggingface-models.md").read_text("utf-8")
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm, nn.RMSNorm)
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Embedding)


def expected(found: Compared) -> dict[str, bool]:
    """Return for the parameters of torch's own layers whether they shall be decayed: matrices are, the rest is not.

    A table of biases by position is no matrix; it is called a bias.
    """
    wanted = {}
    for path, module in found.model.named_modules():
        for name, tensor in module.named_parameters(path, recurse=False):
            own = name.rpartition(".")[2]
            if tensor.requires_grad and (isinstance(module, NORMS) or tensor.dim() < 2):
                wanted[name] = False
            elif tensor.requires_grad and isinstance(module, MATRICES) and own == "weight":
                wanted[name] = not path.endswith("_bias")
    return wanted


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore")
def test_no_decay_differs_from_the_trainer_for_stated_reasons_only(family: str) -> None:
    found = compared(family)
    reasons = {param.name: why for param, why in found.differing()}
    assert "unexplained" not in reasons.values(), reasons
    here = {name: bool(decision.weight_decay) for decision in found.plan for name in decision.param.names}
    wanted = expected(found)
    assert {name: here[name] for name in wanted if name in here} == {n: w for n, w in wanted.items() if n in here}
    assert wanted.keys() <= here.keys()
    if f"transformers {version('transformers')}" in DOCS:
        assert row(family, found) in DOCS.splitlines()


def test_the_docs_name_every_architecture_that_is_compared() -> None:
    table = DOCS.partition("| model type |")[2].partition("\n\n")[0]
    assert [line.split(" | ")[0][2:] for line in table.splitlines()[2:]] == list(FAMILIES)
