"""``optimbuild diff``: what two configs do differently."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from optimbuild.cli.arguments import (
    DIFFERENT,
    SAME,
    BothOverrides,
    FirstOverrides,
    Json,
    Model,
    Optimizer,
    SecondOverrides,
    WorldSize,
)
from optimbuild.cli.output import print_lines, print_message, print_text, report_width, shows_unicode
from optimbuild.cli.plans import inventory_for, plan_of_file
from optimbuild.errors import ConfigError
from optimbuild.messages import printable


def diff(
    before: Annotated[str, typer.Argument(metavar="CONFIG_A", help="A config file.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="CONFIG_B", help="Another one.", show_default=False)],
    model: Model = None,
    overrides: BothOverrides = None,
    first_overrides: FirstOverrides = None,
    second_overrides: SecondOverrides = None,
    optimizer: Optimizer = None,
    world_size: WorldSize = None,
    changes: Annotated[bool, typer.Option("--changes", help="One row per distinct change.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the plans of two configs. Layers whose values differ by a factor share a row.

    The exit status is that of diff(1): 0 the same, 1 different, 2 trouble.
    """
    inventory = inventory_for(model, before, after)
    titles, plans = [], []
    for config, more in ((before, first_overrides or ()), (after, second_overrides or ())):
        titles.append(printable(" ".join([config, *(f"--set {override}" for override in more)])))
        try:
            plans.append(plan_of_file(config, inventory, [*(overrides or ()), *more], optimizer, world_size))
        except ConfigError as error:
            raise ConfigError(f"{titles[-1]}: {error}") from error
    first, second = plans
    difference = first.diff(second)
    if as_json:
        print_text(json.dumps(difference.to_dict(), allow_nan=False) + "\n")
    else:
        from optimbuild.report.diff_text import diff_lines

        look: dict[str, Any] = {"width": report_width(), "unicode": shows_unicode()}
        print_lines(diff_lines(first, second, (titles[0], titles[1]), folded=not changes, **look))
    for title, made, other in ((titles[0], first, second), (titles[1], second, first)):
        known = set(map(_what, other.warnings))
        for warning in made.warnings:
            if _what(warning) not in known:  # a warning about both configs is not about their difference
                print_message("Warning", f"{title}: {warning}")
    raise typer.Exit(DIFFERENT if difference else SAME)


def _what(warning: str) -> str:
    """Return what a warning says, without the place of its rule, for which each dialect has a name."""
    return warning.partition(" (")[2] or warning
