"""What a user wrote, read into a :class:`~optimbuild.config.spec.Spec`; one file per foreign dialect."""

from optimbuild.config.read import read_config, read_raw
from optimbuild.config.reading import Reading
from optimbuild.config.spec import Spec

__all__ = ["Reading", "Spec", "read_config", "read_raw"]
