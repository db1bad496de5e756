"""``optimbuild audit`` and ``infer``: what a saved optimizer amounts to, and a config that gives the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from optimbuild.cli.arguments import DIFFERENT, SAME, Json, Optimizer, Overrides, WorldSize
from optimbuild.cli.output import print_lines, print_message, print_text, report_width, shows_unicode
from optimbuild.cli.plans import inventory_for, plan_of_file
from optimbuild.errors import ConfigError
from optimbuild.messages import printable
from optimbuild.written_files import write_file

if TYPE_CHECKING:
    from optimbuild.auditing.audit import Audit
    from optimbuild.plan.plan import Plan

Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT",
        help="A file of torch, Lightning or MMEngine; a folder of Trainer, DCP, DeepSpeed or optimbuild.",
        show_default=False,
    ),
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="MODEL", help="The model that was trained, as for plan.", show_default=False),
]
Type = Annotated[
    str, typer.Option("--type", metavar="NAME", help="The optimizer that was saved, where its options do not tell.")
]
Trust = Annotated[bool, typer.Option("--trust", help="Unpickle whatever the file holds: it may run any code.")]


def audit(
    checkpoint: Checkpoint,
    model: Model,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="CONFIG", help="Compare with the plan of this config.", show_default=False),
    ] = None,
    overrides: Overrides = None,
    optimizer: Optimizer = None,
    world_size: WorldSize = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="ID", help="A finding to leave out. Repeatable.")
    ] = None,
    optimizer_type: Type = "",
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Show the plan that a saved optimizer amounts to, and what is wrong with it.

    The exit status is 0; with --against it is 1 where they differ; 2 is trouble.
    """
    from optimbuild.auditing.audit import audit_of
    from optimbuild.auditing.saved import found_saved

    for flag, given in {"--set": overrides, "--optimizer": optimizer, "--world-size": world_size}.items():
        if given and against is None:
            raise ConfigError(f"{flag} is about the config of --against, which is not given")
    inventory, config = inventory_for(model), None
    if against is not None:
        config = plan_of_file(against, inventory, overrides, optimizer, world_size)
        inventory = config.inventory  # of a part of the model, where the config's optimizer is for one
    found = audit_of(found_saved(checkpoint, inventory, config, optimizer=optimizer_type, trust=trust))
    found = found.ignoring(ignore or ())
    difference = None if config is None else config.diff(found.plan)
    if as_json:
        more = {} if difference is None else {"diff": difference.to_dict()}
        print_text(json.dumps({**found.to_dict(), **more}, allow_nan=False) + "\n")
    else:
        _print(found, config, (str(against), checkpoint))
    for warning in () if config is None else config.warnings:
        print_message("Warning", f"{against}: {warning}")
    raise typer.Exit(DIFFERENT if difference else SAME)


def _print(found: Audit, config: Plan | None, titles: tuple[str, str]) -> None:
    from optimbuild.auditing.audit_text import audit_lines
    from optimbuild.report.diff_text import diff_lines

    width = report_width()
    print_lines(audit_lines(found.plan, found.findings, width=width, unicode=shows_unicode()))
    if config is not None:
        print_lines([("", ""), *diff_lines(config, found.plan, titles, width=width, unicode=shows_unicode())])


def infer(
    checkpoint: Checkpoint,
    model: Model,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE.yaml", help="Where to write; by default stdout.")
    ] = None,
    optimizer_type: Type = "",
    trust: Trust = False,
) -> None:
    """Write the smallest config of ours found whose plan is that of a saved optimizer.

    The plans are compared: the exit status is 0 where they are equal, and 1 where they differ, which the file says.
    """
    from optimbuild.auditing.audit import audit_of
    from optimbuild.auditing.saved import found_saved

    found = audit_of(found_saved(checkpoint, inventory_for(model), optimizer=optimizer_type, trust=trust)).infer()
    if output is None:
        print_text(str(found))
    else:
        write_file(output, str(found).encode(), new=True)
        print_message("Wrote", printable(output))
    raise typer.Exit(DIFFERENT if found.difference else SAME)
