"""Our own dialect: a mapping with ``optimizer``, and nothing to translate."""

from __future__ import annotations

import pytest

from optimbuild import ConfigError, Spec
from optimbuild.config.dialects import own


@pytest.mark.parametrize(
    ("raw", "ours"),
    [({"optimizer": {}}, True), ({"optimizer": {}, "TRAIN": {}}, False), ({"rules": ()}, False), ({}, False)],
)
def test_it_is_recognised_by_its_optimizer(raw, ours):
    assert own.recognises(raw) == ours


def test_there_is_nothing_to_translate():
    raw = {"optimizer": {"type": "adamw", "lr": 1.0}, "rules": ({"type": "no_decay"},), "strict": False}
    reading = own.read(raw)
    assert reading.spec == Spec.of(raw)
    assert (reading.warnings, reading.paths, reading.rival) == ((), {}, None)


def test_its_keys_are_those_of_the_spec():
    assert set(own.KEYS) == {"optimizer", "optimizers", "rules", "zero", "implementation", "strict", "watch", "resume"}
    with pytest.raises(ConfigError, match=r"^unknown key 'optimiser'. Did you mean 'optimizer' or 'optimizers'\?"):
        own.read({"optimizer": {"type": "adamw"}, "optimiser": {}})
