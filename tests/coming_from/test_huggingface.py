"""The rows of docs/coming-from/huggingface.md: the Trainer's optimizer and ours train alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from tests.coming_from.tables import base, changed, differing, ours, rows, trained

BATCH = torch.arange(16).reshape(2, 8)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForSequenceClassification(BertConfig(**small, vocab_size=16, max_position_embeddings=8)).eval()


def trainers(options: str) -> Callable[[nn.Module], torch.optim.Optimizer]:
    asked = {"learning_rate": 5e-5, "weight_decay": 0.01} | eval(f"dict({options})")

    def make(model: nn.Module) -> torch.optim.Optimizer:
        arguments = TrainingArguments("unused", use_cpu=True, report_to="none", **asked)
        return Trainer(model, arguments).create_optimizer()

    return make


@pytest.mark.parametrize(
    ("theirs", "here"), [("", "{}"), *rows("huggingface", "`TrainingArguments`")]
)
def test_a_row_for_the_trainer_trains_what_it_trains(theirs: str, here: str, model: nn.Module) -> None:
    config = changed(base("huggingface"), here)
    found = trained(model, ours(config), BATCH)
    assert differing(found, trained(model, trainers(theirs), BATCH)) == []
    assert differing(found, dict(model.named_parameters())) != []
