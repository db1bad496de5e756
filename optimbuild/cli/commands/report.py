"""``optimbuild report``: a plan, or two side by side, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from optimbuild.cli.arguments import BothOverrides, Config, FirstOverrides, Model, Optimizer, SecondOverrides
from optimbuild.cli.output import print_message
from optimbuild.cli.plans import inventory_for, plan_of_file
from optimbuild.errors import ConfigError
from optimbuild.messages import printable
from optimbuild.written_files import refuse_other_file, write_file


def report(
    config: Config,
    model: Model = None,
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE.html", help="Where to write.")] = "plan.html",
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="CONFIG_B", help="Another config, side by side.", show_default=False),
    ] = None,
    overrides: BothOverrides = None,
    first_overrides: FirstOverrides = None,
    second_overrides: SecondOverrides = None,
    optimizer: Optimizer = None,
    world_size: Annotated[
        int, typer.Option("--world-size", metavar="N", help="Plan for N ranks, and show what each will hold.")
    ] = 1,
) -> None:
    """Write a plan as one HTML file: pictures, tables and every step, without a network.

    With --against two plans are side by side. Needs optimbuild[report].
    """
    from optimbuild.report.html.document import is_report, page

    refuse_other_file(output, "report", is_report)
    if against is None and second_overrides:
        raise ConfigError("--set-b is for the second config; name it with --against")
    configs = [config] if against is None else [config, against]
    inventory, titles, plans = inventory_for(model, *configs), [], []
    for file, more in zip(configs, (first_overrides or (), second_overrides or ()), strict=False):
        titles.append(" ".join([Path(file).name, *(f"--set {override}" for override in (*(overrides or ()), *more))]))
        try:
            plans.append(plan_of_file(file, inventory, [*(overrides or ()), *more], optimizer, world_size))
        except ConfigError as error:
            raise ConfigError(f"{printable(titles[-1])}: {error}" if against else str(error)) from error
    text = page(plans, titles, world_size)
    write_file(output, text.encode())
    for title, made in zip(titles, plans, strict=True):
        for warning in made.warnings:
            print_message("Warning", f"{title}: {warning}" if against else warning)
    print_message("Wrote", f"{printable(output)}: {len(text) / 2**20:.1f} MiB, which a browser opens")
