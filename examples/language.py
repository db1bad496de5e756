"""Train a small language model on the texts that Python's own help() shows, its optimizer built from a config.

Run it with: python examples/language.py llama configs/language_muon.yaml
`llama` is dense, `moe` a mixture of experts. It prints the plan first and the validation loss last.
"""

from __future__ import annotations

import argparse
import math
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from optimbuild import build_optimizer

LENGTH = 64
"""Tokens in a sequence; a token is a byte."""

SIZES = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": LENGTH,
}


def text() -> tuple[Tensor, Tensor]:
    """Return the bytes to train on and those to validate on; the same ones with the same release of Python."""
    every = "\n".join(topics[name] for name in sorted(topics))
    data = torch.tensor(list(every.encode()), dtype=torch.long)
    split = int(0.9 * len(data))
    return data[:split], data[split:]


def language_model(kind: str) -> nn.Module:
    """Return an untrained model, made from a config without a download."""
    model: nn.Module
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SIZES))
    else:
        model = MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2))
    return model


def batch(data: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return sequences of shape (count, LENGTH) from random places of a text."""
    starts = torch.randint(len(data) - LENGTH, (count,), generator=generator)
    return torch.stack([data[start : start + LENGTH] for start in starts])


@torch.no_grad()
def loss_on(model: nn.Module, data: Tensor) -> float:
    """Return the mean loss, in nats per byte, on 64 sequences that are always the same."""
    model.eval()
    tokens = batch(data, 64, torch.Generator().manual_seed(0))
    loss = model(input_ids=tokens, labels=tokens).loss.item()
    model.train()
    return float(loss)


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("llama", "moe"))
    parser.add_argument("config", help="an optimizer config, such as configs/language_muon.yaml")
    parser.add_argument("--steps", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same run (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Print the plan, train, print the validation loss."""
    args = arguments()
    torch.set_num_threads(1)  # the fastest for a model this small, and the same sums on every machine
    torch.manual_seed(args.seed)
    train, validation = text()
    model = language_model(args.model)
    optimizer = build_optimizer(args.config, model)
    print(optimizer.plan)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 20, (1 + math.cos(math.pi * step / args.steps)) / 2)
    )
    generator = torch.Generator().manual_seed(args.seed)
    for _ in range(args.steps):
        tokens = batch(train, 16, generator)
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        schedule.step()
    print(f"validation loss: {loss_on(model, validation):.4f}")


if __name__ == "__main__":
    main()
