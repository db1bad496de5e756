"""Mistakes in how a command was written, in our words."""

from __future__ import annotations

import sys
from typing import Any, cast

import typer

from optimbuild.cli.output import print_message
from optimbuild.messages import shown, suggest

USAGE_ERROR = cast(type[Exception], typer.BadParameter.__base__)
"""The class of all such mistakes; typer exports only this subclass."""

WANTED = {"int_parsing": "a whole number", "float_parsing": "a number"}
"""By pydantic's name of a mistake what an option takes."""


def print_usage_mistake(error: Any) -> None:
    """Write a mistake that typer found to stderr; the help where there was no argument at all.

    Args:
        error: What typer raised, a ``USAGE_ERROR``.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{error.format_message()}\n")
    else:
        print_message("Error", f"{_told(error)} See `{_command(error)} --help`.")


def _told(error: Any) -> str:
    """Return what is wrong, as a sentence."""
    command, known = _command(error), [] if error.ctx is None else error.ctx.command.params
    match type(error).__name__:
        case "NoSuchOption":
            options = [option for param in known for option in param.opts if option.startswith("--")]
            return f"{command} has no option {shown(error.option_name)}.{suggest(error.option_name, options)}"
        case "BadOptionUsage":
            takes_one = "requires" in error.message  # typer does not say which command's option it is
            return f"{error.option_name} {'needs a' if takes_one else 'takes no'} value."
        case "MissingParameter":
            missing = error.param
            name = missing.metavar if missing.param_type_name == "argument" else missing.opts[0]
            return f"{command} needs {name}. {missing.help or ''}".rstrip()
        case "BadParameter" if (found := _unparsed(error)) is not None:
            return found
        case "UsageError" if "extra argument" in error.message:
            return f"{command} takes no further argument: {error.message.partition(' (')[2].removesuffix(')')}."
    text = error.format_message()
    return f"{text[:1].lower()}{text[1:]}"


def _command(error: Any) -> str:
    return "optimbuild" if error.ctx is None else str(error.ctx.command_path)


def _unparsed(error: Any) -> str | None:
    """Return the mistake of a value that is no number; None for another mistake."""
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    if not found or found[0]["type"] not in WANTED:
        return None
    return f"{error.param.opts[0]} must be {WANTED[found[0]['type']]}, not {shown(found[0]['input'])}."
