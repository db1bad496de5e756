"""``optimbuild explain``: the steps that led to a parameter's setting."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from optimbuild.cli.arguments import Config, Model, Optimizer, Overrides, WorldSize
from optimbuild.cli.output import print_lines, print_message, report_width, shows_unicode
from optimbuild.cli.plans import inventory_for, places_of_rules, reading_of_file


def explain(
    config: Config,
    params: Annotated[
        list[str],
        typer.Argument(metavar="PARAM", help="Names of parameters, modules, or patterns.", show_default=False),
    ],
    model: Model = None,
    overrides: Overrides = None,
    optimizer: Optimizer = None,
    world_size: WorldSize = None,
) -> None:
    """Show how the settings of parameters came about, as a calculation.

    Each rule is named with its line in the config, and that of its code.
    """
    from optimbuild.plan.make import plan_of_reading
    from optimbuild.report.explain_text import explain_lines

    inventory, reading = inventory_for(model, config), reading_of_file(config, overrides, optimizer, world_size)
    made = plan_of_reading(reading, inventory)
    places = places_of_rules(config, reading, overrides)
    look: dict[str, Any] = {"places": places, "width": report_width(), "unicode": shows_unicode()}
    blocks = [explain_lines(made, _below(reading.module, name), **look) for name in params]
    print_lines(line for i, block in enumerate(blocks) for line in [("", "")] * bool(i) + block)
    for warning in made.warnings:
        print_message("Warning", warning)


def _below(module: str, name: str) -> str:
    """Return a name as the plan of a module has it; the whole model's name for it, with the module, works too."""
    if not module:
        return name
    return "**" if name == module else name.removeprefix(f"{module}.")
