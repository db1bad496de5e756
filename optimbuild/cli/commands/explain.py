"""``optimbuild explain``: the steps that led to a parameter's setting."""

from __future__ import annotations

from typing import Annotated

import typer

from optimbuild.cli.arguments import Config, Model, Optimizer, Overrides, WorldSize
from optimbuild.cli.output import print_lines
from optimbuild.cli.plans import inventory_for, plan_of_file


def explain(
    config: Config,
    params: Annotated[
        list[str], typer.Argument(metavar="PARAM", help="Names of parameters, or aliases.", show_default=False)
    ],
    model: Model = None,
    overrides: Overrides = None,
    optimizer: Optimizer = None,
    world_size: WorldSize = None,
) -> None:
    """Show each step that led to a parameter's setting.

    Every step names its rule, with its file and line.
    """
    from optimbuild.report.explain_text import explain_lines

    made = plan_of_file(config, inventory_for(model, config), overrides, optimizer, world_size)
    blocks = [explain_lines(made, name) for name in params]
    print_lines(line for i, block in enumerate(blocks) for line in [("", "")] * bool(i) + block)
