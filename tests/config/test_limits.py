"""A config that asks for too much is refused with the limit named, and one at the limit is planned."""

from __future__ import annotations

from typing import Any

import pytest

from optimbuild import ConfigError, Inventory, ParamInfo, Spec, make_plan
from optimbuild.config.limits import MAX_RULES, MAX_WILDCARDS

MODEL = Inventory((ParamInfo("blocks.0.w", (4, 4)), ParamInfo("head.bias", (4,))))
ADAMW = {"type": "adamw", "lr": 1.0}
HEAD = {"type": "match", "table": {"head": {"lr_mult": 0.5}}}


def freeze(*patterns: str) -> dict[str, Any]:
    return {"optimizer": ADAMW, "strict": False, "rules": [{"type": "freeze", "patterns": list(patterns)}]}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": ADAMW, "rules": [HEAD] * (MAX_RULES + 1)}, "^rules: a config has at most 1000 rules, not 1001$"),
        ({"optimizer": ADAMW, "rules": [HEAD] * 20_000}, "^holds more than 10000 values$"),
        (freeze(*(f"a{i}" for i in range(100_000))), "^holds more than 10000 values$"),
        (
            freeze(*(f"*.{i}" for i in range(MAX_WILDCARDS + 1))),
            "^rules: a config has at most 2000 patterns with .*2001",
        ),
        (freeze(*(f"re:a{i}" for i in range(MAX_WILDCARDS + 1))), "^rules: a config has at most 2000 patterns"),
        (freeze(*(f"*{'a' * 900}{i}" for i in range(120))), "have at most 100000 characters together, not 10"),
        ({"optimizer": {**ADAMW, "betas": [0.9] * 500_000}}, "^holds more than 10000 values$"),
    ],
)
def test_a_config_above_a_limit_is_refused_with_the_limit(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(config, MODEL)


def test_the_limits_hold_in_every_dialect() -> None:
    for config, path in (
        ({"TRAIN": {"OPTIMIZER": {"RULES": [HEAD] * 1001}}}, "TRAIN.OPTIMIZER.RULES|rules"),
        (
            {"optim_wrapper": {"optimizer": ADAMW, "paramwise_cfg": {"rules": [{"type": "no_decay"}] * 1001}}},
            "optim_wrapper|rules",
        ),
    ):
        with pytest.raises(ConfigError, match=rf"^({path}).*at most 1000 rules, not 100\d"):
            make_plan(config, MODEL)


def test_a_config_at_the_limits_is_planned() -> None:
    assert make_plan({"optimizer": ADAMW, "rules": [HEAD] * MAX_RULES}, MODEL)["head.bias"].lr == 0.5**MAX_RULES
    config = freeze("blocks", *(f"nowhere*.{i}" for i in range(MAX_WILDCARDS)))
    assert make_plan(config, MODEL).frozen == ("blocks.0.w",)
    config = freeze("blocks", *(f"nowhere.{i}" for i in range(9000)))
    assert make_plan(config, MODEL).frozen == ("blocks.0.w",)


def test_names_in_other_options_count_as_no_patterns() -> None:
    assert Spec.of({"optimizer": {**ADAMW, "note": ["*"] * 3000}}).optimizer.type == "adamw"
