"""The command line."""

from optimbuild.cli.program import app, main

__all__ = ["app", "main"]
