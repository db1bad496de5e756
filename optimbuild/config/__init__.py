"""Reads what a user wrote into a :class:`~optimbuild.config.spec.Spec`, whatever its dialect."""

from optimbuild.config.read import read_config, read_configs, read_raw
from optimbuild.config.reading import Reading
from optimbuild.config.spec import Spec

__all__ = ["Reading", "Spec", "read_config", "read_configs", "read_raw"]
