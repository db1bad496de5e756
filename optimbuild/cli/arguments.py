"""Arguments and options that several commands share, and the exit statuses."""

from __future__ import annotations

from typing import Annotated, Any

import typer

SAME, DIFFERENT, TROUBLE = 0, 1, 2

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A config file of any dialect.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="An inventory file (*.json), package.module:callable, or hf:CONFIG.json or hf:FOLDER. "
        "An MMEngine config in Python may build its own.",
        show_default=False,
    ),
]


def _overrides(flag: str, of: str) -> Any:
    return typer.Option(flag, metavar="KEY=VALUE", help=f"Override a key of {of}. Repeatable.")


Overrides = Annotated[list[str] | None, _overrides("--set", "the config, in its own dialect")]
BothOverrides = Annotated[list[str] | None, _overrides("--set", "both configs")]
FirstOverrides = Annotated[list[str] | None, _overrides("--set-a", "CONFIG_A only, after --set")]
SecondOverrides = Annotated[list[str] | None, _overrides("--set-b", "CONFIG_B only, after --set")]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help="Only this one, of a config with several optimizers.",
        show_default=False,
    ),
]
WorldSize = Annotated[
    int | None,
    typer.Option(
        "--world-size",
        metavar="N",
        help="Plan for N ranks, where a constructor computes with their number.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
