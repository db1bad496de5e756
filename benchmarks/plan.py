"""Planning from an inventory: time and memory per tensor, from a thousand tensors to a million."""

from __future__ import annotations

import copy
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from benchmarks import sides
from benchmarks.measuring import Effort, in_turn
from benchmarks.results import Result, Row, Target
from optimbuild import Inventory, ParamInfo, Plan, make_plan

ABOUT = """A plan of a mixture-of-experts language model from its inventory, under three rules: no_decay,
layer_decay with the depths inferred from names, and a match table. Then what people do with a plan; planning and
printing once more under no_decay alone, which is the least that a plan asks. Figures are per tensor, so a linear
cost is the same in every line. Memory is the most that Python held at any moment of the planning, beyond the
inventory itself."""

CONFIG = sides.config(
    sides.NO_DECAY, {"type": "layer_decay", "ratio": 0.9}, {"type": "match", "table": {"**.mlp.gate": {"lr_mult": 0.1}}}
)
SIZES = (1_000, 10_000, 100_000, 1_000_000)
QUICK = (1_000, 2_000)
LAYERS = 48


def run(effort: Effort) -> Result:
    """Measure every size."""
    sizes = QUICK if effort.quick else SIZES
    rows: list[Row] = []
    for size in sizes:
        rows += _size(size, effort.fewer(2 if size >= 1_000_000 else 5))
    found = {(row.case, row.side): row for row in rows}
    return Result("plan", ABOUT, rows, _targets(found, sizes))


def mixture_of_experts(tensors: int, layers: int = LAYERS) -> Inventory:
    """Return the inventory of a mixture-of-experts Llama with about so many tensors."""
    experts = max(1, (tensors // layers - 7) // 3)
    return Inventory(tuple(_params(layers, experts)), model="MixtureOfExperts")


def _params(layers: int, experts: int) -> Iterator[ParamInfo]:
    linear, bases = frozenset(("linear",)), ("Linear",)
    norm = frozenset(("norm",))
    yield ParamInfo("model.embed_tokens.weight", (32000, 4096), "bfloat16", "Embedding", ("Embedding",))
    for layer in range(layers):
        at = f"model.layers.{layer}"
        inside = [f"self_attn.{part}_proj" for part in "qkvo"] + ["mlp.gate"]
        inside += [f"mlp.experts.{i}.{part}_proj" for i in range(experts) for part in ("gate", "up", "down")]
        for name in inside:
            yield ParamInfo(f"{at}.{name}.weight", (1408, 4096), "bfloat16", "Linear", bases, linear)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield ParamInfo(f"{at}.{name}.weight", (4096,), "bfloat16", "LlamaRMSNorm", (), norm)
    yield ParamInfo("model.norm.weight", (4096,), "bfloat16", "LlamaRMSNorm", (), norm)


def _size(size: int, effort: Effort) -> list[Row]:
    inventory = mixture_of_experts(size)
    plan = make_plan(CONFIG, inventory)
    few = sides.config(sides.NO_DECAY)
    other = make_plan(few, inventory)
    together: list[dict[str, Callable[[], Any]]] = [
        {"plan": lambda: make_plan(CONFIG, inventory), "text": lambda: str(_afresh(plan))},
        {"plan, no_decay": lambda: make_plan(few, inventory), "text, no_decay": lambda: str(_afresh(other))},
        {"fingerprint": lambda: _afresh(plan).fingerprint},
        {"diff": lambda: plan.diff(other)},
        {"to_json": lambda: _afresh(plan).to_json()},
    ]
    rows, tensors = [], len(inventory)
    for jobs in together:
        for row in in_turn(f"{size:,} tensors", jobs, effort):
            each = replace(row, median=row.median / tensors, spread=row.spread / tensors, facts={"tensors": tensors})
            rows.append(each)
    rows.append(Row(f"{size:,} tensors", "memory of plan", _memory(inventory), unit="B", facts={"tensors": tensors}))
    return rows


def _afresh(plan: Plan) -> Plan:
    """Return a copy of a plan that was made and not looked at since: it knows what planning itself computes."""
    found = copy.copy(plan)
    object.__setattr__(found, "inventory", plan.inventory.copy())
    return found


def _memory(inventory: Inventory) -> float:
    gc.collect()
    tracemalloc.start(1)
    try:
        make_plan(CONFIG, inventory)
        return tracemalloc.get_traced_memory()[1] / len(inventory)
    finally:
        tracemalloc.stop()


def _targets(rows: dict[tuple[str, str], Row], sizes: tuple[int, ...]) -> list[Target]:
    largest, smaller = f"{sizes[-1]:,} tensors", f"{sizes[1] if len(sizes) > 2 else sizes[0]:,} tensors"
    targets = [
        Target(f"plan, time per tensor of {largest}", rows[largest, "plan"].median * 1e6, 12, unit="µs"),
        Target(f"plan, memory per tensor of {largest}", rows[largest, "memory of plan"].median, 700, unit="bytes"),
    ]
    for side in ("plan", "memory of plan", "fingerprint", "diff", "to_json"):
        growth = rows[largest, side].median / rows[smaller, side].median
        targets.append(Target(f"{side}: each of {largest} over each of {smaller}", growth, 1.3))
    targets += [
        Target(f"printing {case} over planning them{side.removeprefix('text')}", row.ratio or 0.0, 1)
        for (case, side), row in rows.items()
        if side.startswith("text")
    ]
    hundred = rows.get((f"{100_000:,} tensors", "plan"))
    million = rows.get((f"{1_000_000:,} tensors", "text"))
    if million:
        total = million.median * million.facts["tensors"]
        targets.append(Target("printing the plan of a model with 1,000,000 tensors", total, 10, unit="s"))
    if hundred:
        total = hundred.median * hundred.facts["tensors"]
        targets.append(Target("plan of a mixture-of-experts model with 100,000 tensors", total, 1.2, unit="s"))
    return targets
