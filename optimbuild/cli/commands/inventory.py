"""``optimbuild inventory``: a model as a file."""

from __future__ import annotations

import json
import os
from itertools import product
from typing import Annotated, Any

import typer

from optimbuild.cli.output import print_message, print_text
from optimbuild.errors import ModelError
from optimbuild.messages import counted, printable
from optimbuild.written_files import refuse_other_file, write_file

LARGEST_INVENTORY = 2**28
"""The limit on the size of a file that is read to see whether it is an inventory, in bytes."""


def inventory(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="As for plan.", show_default=False)],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE.json", help="Where to write; by default stdout.")
    ] = None,
    ratios: Annotated[
        list[float] | None,
        typer.Option(
            "--ratio",
            metavar="R",
            help="A ratio for which the model's lr_decay_keywords is asked as well. Repeatable.",
        ),
    ] = None,
) -> None:
    """Write an inventory file, to plan without the model.

    It holds the model's parameters and what its own methods answer.
    """
    from optimbuild.model.by_name import inventory_named

    found = inventory_named(model)
    asked = [hints for _, hints in found.hints.offering("lr_decay_keywords")]
    if ratios and not asked:
        raise ModelError(f"{found.model or model} has no lr_decay_keywords(ratio), so --ratio asks for nothing")
    found.record(ratios or ())
    for hints, ratio in product(asked, ratios or ()):
        hints.lr_decay_keywords(ratio)  # raises if the model is an inventory file without this ratio
    text = _one_row_a_line(found.to_dict())
    if output is None:
        return print_text(text)
    refuse_other_file(output, "inventory file", _is_inventory)
    write_file(output, text.encode())
    return print_message("Wrote", f"{printable(output)}: {counted(len(found), 'tensor')}")


def _is_inventory(path: str) -> bool:
    """Say whether a file is an inventory."""
    from optimbuild.model.inventory import Inventory

    if os.path.getsize(path) > LARGEST_INVENTORY:
        return False
    try:
        Inventory.read(path)
    except ModelError:
        return False
    return True


def _one_row_a_line(data: dict[str, Any]) -> str:
    """Return an inventory as JSON with one line per parameter, so that files can be compared line by line."""
    rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in data["params"])
    text = json.dumps({**data, "params": []}, indent=1, allow_nan=False)
    return text.replace('"params": []', f'"params": [\n  {rows}\n ]', 1) + "\n"
