"""``optimbuild plot``: a plan as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from optimbuild.cli.arguments import Config, Model, Optimizer, Overrides, WorldSize
from optimbuild.cli.output import print_message
from optimbuild.cli.plans import inventory_for, plan_of_file
from optimbuild.errors import ConfigError
from optimbuild.messages import printable

if TYPE_CHECKING:
    from optimbuild.plot import Schedule

SCHEDULES = ("config", "cosine", "linear", "onecycle")
"""The names of ``optimbuild.plot.schedules``, which takes long to import: a test compares them."""


def plot(
    config: Config,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to draw: *.svg, *.png or *.pdf.", show_default=False
        ),
    ],
    model: Model = None,
    overrides: Overrides = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="|".join(SCHEDULES),
            help="Draw the LR over steps too: under the config's own (MMEngine, yacs), or one of torch.",
            show_default=False,
            autocompletion=lambda: list(SCHEDULES),
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="The number of steps of the schedule.", show_default=False),
    ] = None,
    optimizer: Optimizer = None,
    world_size: WorldSize = None,
) -> None:
    """Draw LR and weight decay over the depth of the model.

    An existing file is replaced only if it is such a plot.
    """
    from optimbuild.plot import save_plot

    made = plan_of_file(config, inventory_for(model, config), overrides, optimizer, world_size)
    save_plot(made, output, _schedule(config, schedule, steps, optimizer))
    for warning in made.warnings:
        print_message("Warning", warning)
    print_message("Wrote", printable(output))


def _schedule(config: str, name: str | None, steps: int | None, optimizer: str | None) -> Schedule | None:
    """Return the schedule that is asked for."""
    if name is None:
        if steps is not None:
            raise ConfigError("--steps is the length of a schedule; say which one with --schedule")
        return None
    from optimbuild.plot import named_schedule, schedule_of_config
    from optimbuild.plot.schedules import OF_CONFIG

    if name == OF_CONFIG:
        return schedule_of_config(config, steps, optimizer)
    if steps is None:
        raise ConfigError(f"--schedule {name} needs its length: --steps N")
    return named_schedule(name, steps)
