"""The rows of docs/coming-from/huggingface.md: the Trainer's optimizer and ours train alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

from tests.coming_from.tables import base, changed, differing, on_cpu, ours, rows, trained

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


@pytest.mark.parametrize(("theirs", "here"), [("", "{}"), *rows("huggingface", "`TrainingArguments`")])
def test_a_row_for_the_trainer_trains_what_it_trains(theirs: str, here: str, model: nn.Module) -> None:
    config = changed(base("huggingface"), here)
    found = trained(model, ours(config), BATCH)
    assert differing(found, trained(model, trainers(theirs), BATCH)) == []
    assert differing(found, dict(model.named_parameters())) != []


BY_HAND = rows("huggingface", "by hand")


@pytest.mark.parametrize(("code", "rule"), BY_HAND[:2])
def test_what_scripts_do_by_hand_is_a_rule(code: str, rule: str, model: nn.Module) -> None:
    def theirs(model: nn.Module) -> torch.optim.Optimizer:
        made = eval(code, {"AdamW": torch.optim.AdamW, "model": model})
        return made if isinstance(made, torch.optim.Optimizer) else torch.optim.AdamW(model.parameters(), lr=5e-5)

    config = {**on_cpu(base("huggingface")), "rules": [yaml.safe_load(rule)]}
    assert differing(trained(model, ours(config), BATCH), trained(model, theirs, BATCH)) == []


@pytest.mark.slow
def test_lora_plus_of_peft_is_a_rule() -> None:
    peft: Any = pytest.importorskip("peft")
    optimizers: Any = pytest.importorskip("peft.optimizers")
    ((code, rule),) = BY_HAND[2:]
    llama = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, vocab_size=16)
    torch.manual_seed(0)
    model = peft.get_peft_model(LlamaForCausalLM(llama), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    names = {"AdamW": torch.optim.AdamW, "create_loraplus_optimizer": optimizers.create_loraplus_optimizer}
    config = {"optimizer": {"type": "adamw", "lr": 5e-5, "weight_decay": 0.0}, "rules": [yaml.safe_load(rule)]}
    found = trained(model, ours(on_cpu(config)), BATCH)
    assert differing(found, trained(model, lambda model: eval(code, {**names, "model": model}), BATCH)) == []
