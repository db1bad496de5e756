"""Changing an option of a complete set gives what checking the whole set anew gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

from optimbuild.errors import ConfigError
from optimbuild.registry import find_optimizer
from optimbuild.registry.optimizer_type import OptimizerType


class Bounded(BaseModel):
    """Options that know of each other."""

    lr: float = 0.1
    ceiling: float = 1.0

    @model_validator(mode="after")
    def _under_the_ceiling(self) -> Bounded:
        if self.lr > self.ceiling:
            raise ValueError("lr is above the ceiling")
        return self


BOUNDED = OptimizerType("bounded", "torch.optim:SGD", schema=Bounded, kernels=())
VALUES = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(["1e-3", "x", "", (0.9, 0.99)])
UPDATES = st.dictionaries(
    st.sampled_from(["lr", "weight_decay", "momentum", "nesterov", "betas", "eps", "fused", "learning_rate"]),
    VALUES,
    min_size=1,
    max_size=3,
)


def _either(work):
    try:
        return repr(work())
    except ConfigError as error:
        return f"{error.path}: {error.message}"


@pytest.mark.parametrize("name", ["adamw", "sgd", "sgd_linear_probing", "Adadelta", "Adam"])
@settings(deadline=None)
@given(update=UPDATES)
def test_a_change_is_checked_and_coerced_as_the_whole_is(name, update):
    kind = find_optimizer(name)
    options = kind.complete(kind.complete({}))  # a default of a class may be 0 where 0.0 is meant
    whole = _either(lambda: kind.complete({**options, **update}, "rules[0]"))
    if "takes no option" not in whole:  # that is found before the change
        changed = _either(lambda: {**dict.fromkeys(options), **kind.changed(options, update, "rules[0]")})
        assert changed == whole


def test_options_that_know_of_each_other_are_checked_together():
    options = BOUNDED.complete({})
    assert BOUNDED.changed(options, {"lr": 0.5}, "")["lr"] == 0.5
    with pytest.raises(ConfigError, match="lr is above the ceiling"):
        BOUNDED.changed(options, {"lr": 2.0}, "")
