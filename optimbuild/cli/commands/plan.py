"""``optimbuild plan``: what every parameter gets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimbuild.cli.arguments import Config, Json, Model, Optimizer, Overrides
from optimbuild.cli.output import print_lines, print_message, print_text, report_width, shows_unicode
from optimbuild.cli.plans import inventory_for, plans_of_file
from optimbuild.errors import ConfigError

if TYPE_CHECKING:
    from optimbuild.plan.plan import Plan


def plan(
    config: Config,
    model: Model = None,
    overrides: Overrides = None,
    groups: Annotated[bool, typer.Option("--groups", help="One row per group.")] = False,
    params: Annotated[bool, typer.Option("--params", help="One row per parameter, in a tree of modules.")] = False,
    world_size: Annotated[
        int | None,
        typer.Option(
            "--world-size", metavar="N", help="Plan for N ranks, and show what each will hold.", show_default=False
        ),
    ] = None,
    optimizer: Optimizer = None,
    as_json: Json = False,
) -> None:
    """Show what every parameter gets; one table per optimizer, if there are several.

    Parameters of equal structure share a row, if their settings differ by a factor per layer.
    """
    views = [view for view, asked in {"groups": groups, "params": params, "json": as_json}.items() if asked]
    if len(views) > 1:
        raise ConfigError(
            f"--{views[0]} and --{views[1]} are two views of the plan, and --json has all. Give one of them."
        )
    plans = plans_of_file(config, inventory_for(model, config), overrides, optimizer, world_size)
    several = len(plans) > 1
    if as_json:
        found = {name: _as_data(made, world_size) for name, made in plans.items()}
        print_text(json.dumps({"optimizers": found} if several else next(iter(found.values())), allow_nan=False) + "\n")
    else:
        for i, (name, made) in enumerate(plans.items()):
            print_lines([("", "")] * bool(i) + [(f"{name}:", "bold")] * several)
            _print_plan(made, views[0] if views else "folded", world_size)
    for name, made in plans.items():
        for warning in made.warnings:
            print_message("Warning", f"{name}: {warning}" if several else warning)


def _as_data(made: Plan, world_size: int | None) -> dict[str, Any]:
    more = {} if world_size is None else {"memory": made.memory(world_size).to_dict()}
    return {**made.to_dict(), **more}


def _print_plan(made: Plan, view: str, world_size: int | None) -> None:
    from optimbuild.report.plan_text import plan_lines

    memory = None if world_size is None else made.memory(world_size)
    print_lines(plan_lines(made, view, width=report_width(), warnings=False, unicode=shows_unicode()))
    if memory is not None:
        print_lines((line, "") for line in ["", *str(memory).splitlines()])
