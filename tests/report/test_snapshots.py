"""Plans and explanations as a terminal shows them.

``python -m tests.report.test_snapshots`` writes the files anew: look at what changed before you commit it.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest

from optimbuild import Inventory, ParamInfo
from optimbuild.cli import main
from optimbuild.registry.registry import Origin

ROOT = Path(__file__).parents[2]
SNAPSHOTS = Path(__file__).parent / "snapshots"
WIDTHS = (80, 120)


def llama_moe() -> Inventory:
    """Return the parameters of a Llama with a mixture of experts: 32 layers of 8 experts."""

    def made(name: str, *shape: int) -> ParamInfo:
        kinds = {"norm"} if "norm" in name else {"embedding"} if "embed" in name else {"linear"}
        return ParamInfo(f"{name}.weight", shape, dtype="bfloat16", kinds=frozenset(kinds))

    def layer(at: str) -> Iterator[ParamInfo]:
        yield from [made(f"{at}.self_attn.{name}_proj", 4096, 4096) for name in "qkvo"]
        yield made(f"{at}.block_sparse_moe.gate", 8, 4096)
        for expert in range(8):
            for name, shape in (("w1", (14336, 4096)), ("w2", (4096, 14336)), ("w3", (14336, 4096))):
                yield made(f"{at}.block_sparse_moe.experts.{expert}.{name}", *shape)
        yield from [made(f"{at}.{name}_layernorm", 4096) for name in ("input", "post_attention")]

    layers = [param for i in range(32) for param in layer(f"model.layers.{i}")]
    ends = [made("model.norm", 4096), made("lm_head", 32000, 4096)]
    return Inventory([made("model.embed_tokens", 32000, 4096), *layers, *ends], model="LlamaMoE")


MOE = """\
optimizer: {type: adamw, lr: 3e-4, weight_decay: 0.1, betas: [0.9, 0.95]}
rules:
  - {type: no_decay}
  - {type: layer_decay, ratio: 0.95, layers: [model.embed_tokens, "model.layers.{n}", [model.norm, lm_head]]}
  - type: match
    table:
      "**.gate": {lr_mult: 0.1}
      "model.layers.17.block_sparse_moe": {weight_decay: 0.2}
"""
CONFIGS = ROOT / "configs"
CASES = {
    "internimage_h": [
        "plan",
        f"{CONFIGS}/internimage_h_22kto1k_640.yaml",
        "-m",
        f"{CONFIGS}/inventories/internimage_h.json",
    ],
    "llama_moe": ["plan", "moe.yaml", "-m", "moe.json"],
    "digits_vit": ["plan", f"{CONFIGS}/digits_vit.yaml", "-m", "examples.digits:vision_transformer"],
    "explain_llama_moe": ["explain", "moe.yaml", "-m", "moe.json", "model.layers.*.block_sparse_moe"],
}


class Terminal(io.StringIO):
    """A stdout that is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(case: str, width: int, folder: str) -> str:
    """Return what a terminal of a width shows, without its colors."""
    Path(folder, "moe.yaml").write_text(MOE)
    Path(folder, "moe.json").write_text(json.dumps(llama_moe().to_dict()))
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    terminal = Terminal()
    with (
        chdir(folder),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(Origin, "__str__", lambda origin: Path(origin.file).name),  # however long the path to us is
        redirect_stdout(terminal),
        redirect_stderr(io.StringIO()),
    ):
        assert main(CASES[case]) == 0
    return re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES)
def test_a_terminal_shows_what_the_snapshot_shows(case, width, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    text = shown(case, width, str(tmp_path))
    assert text == (SNAPSHOTS / f"{case}_{width}.txt").read_text("utf-8")
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 40 or case.startswith("explain")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for name in CASES:
        for columns in WIDTHS:
            with TemporaryDirectory() as temporary:
                (SNAPSHOTS / f"{name}_{columns}.txt").write_text(shown(name, columns, temporary), "utf-8")
