"""Moved to :mod:`optimbuild.config.schema`."""

from optimbuild.config.schema import config_schema, rule_schema

__all__ = ["config_schema", "rule_schema"]
