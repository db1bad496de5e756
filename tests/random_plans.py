"""Random inventories, and random configs that are valid for them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from optimbuild import Inventory, ParamInfo
from optimbuild.model.hints import Hints
from optimbuild.model.kinds import KINDS

SEGMENTS = ("levels", "0", "1", "10", "blocks", "norm", "offset", "head", "größe", "a-b")
SCALARS = st.floats(0, 10, allow_nan=False)


@st.composite
def inventories(draw: Any) -> Inventory:
    """Draw an inventory with numbered and other names, some shapes, kinds, aliases and hooks."""
    paths = draw(st.lists(st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=4), min_size=1, max_size=10))
    names = list(dict.fromkeys(".".join([*path, draw(st.sampled_from(["weight", "bias"]))]) for path in paths))
    params = [
        ParamInfo(
            name,
            tuple(draw(st.lists(st.integers(0, 5), max_size=3))),
            dtype=draw(st.sampled_from(["float32", "bfloat16"])),
            owner=draw(st.sampled_from(["Linear", "LayerNorm", "", "Ünormal"])),
            kinds=frozenset(draw(st.lists(st.sampled_from(KINDS), max_size=2))),
            trainable=i == 0 or draw(st.integers(0, 4)) > 0,
            aliases=(f"twin.{i}",) if draw(st.integers(0, 4)) == 0 else (),
        )
        for i, name in enumerate(names)
    ]
    hooks: dict[str, Any] = {}
    if draw(st.booleans()):
        hooks["no_weight_decay"] = draw(st.lists(st.sampled_from(names)))
    if draw(st.booleans()):
        hooks["get_layer_depth"] = {name: [draw(st.integers(0, 3)), 4] for name in names}
    return Inventory(tuple(params), Hints(hooks), draw(st.sampled_from(["Net", "", "Nät"])))


OPTIMIZERS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["adamw", "AdamW"])},
        optional={
            "lr": SCALARS | st.just("1e-3"),
            "weight_decay": SCALARS,
            "betas": st.just([0.9, 0.95]),
            "amsgrad": st.booleans(),
        },
    ),
    st.fixed_dictionaries({"type": st.just("sgd")}, optional={"lr": SCALARS, "momentum": st.floats(0.1, 1)}),
    st.fixed_dictionaries({"type": st.just("sgd_linear_probing")}, optional={"lr": SCALARS}),
)
PATTERNS = st.sampled_from(["levels", "**.norm", "**.1", "blocks.{n}", "re:bias$", "*.*", "head", "twin"])
RULES = st.one_of(
    st.fixed_dictionaries({"type": st.just("no_decay")}, optional={"bias": st.booleans(), "hints": st.booleans()}),
    st.fixed_dictionaries({"type": st.just("dcn_lr"), "factor": st.floats(0.1, 2)}),
    st.fixed_dictionaries({"type": st.just("freeze"), "patterns": st.lists(PATTERNS, min_size=1, max_size=2)}),
    st.fixed_dictionaries({"type": st.just("freeze"), "levels": st.just([0, 1])}),
    st.fixed_dictionaries(
        {
            "type": st.just("match"),
            "table": st.dictionaries(
                PATTERNS,
                st.fixed_dictionaries({}, optional={"lr_mult": SCALARS, "lr": SCALARS, "freeze": st.booleans()}),
                min_size=1,
                max_size=3,
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("layer_decay"),
            "ratio": st.floats(0.1, 1),
            "layers": st.lists(PATTERNS, min_size=1, max_size=3),
        }
    ),
)
CONFIGS = st.fixed_dictionaries(
    {"optimizer": OPTIMIZERS, "strict": st.just(False)},
    optional={
        "rules": st.lists(RULES, max_size=4),
        "implementation": st.sampled_from(["auto", "foreach", "for-loop"]),
        "zero": st.booleans(),
    },
)
