"""The command line."""

from optimbuild.cli import audit
from optimbuild.cli.commands import app, main

__all__ = ["app", "audit", "main"]
