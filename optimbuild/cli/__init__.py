"""The command line."""

from optimbuild.cli.commands import app, main

__all__ = ["app", "main"]
