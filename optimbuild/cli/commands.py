"""The command line: ``optimbuild plan | explain | diff | list | inventory | schema | new-plugin | check-plugin``.

What a command needs is imported inside it, so that ``--help`` is quick and a plan of an inventory
file never imports torch.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from optimbuild.cli.output import print_lines, print_message, print_text, report_width, show_warning, shows_unicode
from optimbuild.cli.plans import inventory_for, places_of_rules, plan_of_file, plans_of_file
from optimbuild.errors import ConfigError, ModelError, OptimBuildError, OptimBuildWarning
from optimbuild.messages import printable, shown, suggest

if TYPE_CHECKING:
    from optimbuild.plan.plan import Plan

SAME, DIFFERENT, TROUBLE = 0, 1, 2
TRACEBACK = "--traceback"
KINDS = ("rules", "optimizers")
LARGEST_INVENTORY = 2**28
"""The limit on the size of a file that is read to see whether it is an inventory, in bytes."""

app = typer.Typer(
    name="optimbuild",
    help="See, explain and check what every parameter of a model gets from an optimizer config.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A config file of any dialect.", show_default=False)]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="An inventory file (*.json), package.module:callable, or hf:CONFIG.json. "
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status.

    Args:
        arguments: The command-line arguments, without the program's name; by default those of this process.

    Returns:
        0; 1 where ``diff`` found a difference; 2 after an error, whose message is on stderr.
    """
    for stream in (sys.stdout, sys.stderr):  # for terminals that cannot show every character
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    left = [argument for argument in given if argument != TRACEBACK]  # so that it may be anywhere
    with warnings.catch_warnings():
        warnings.simplefilter("always", OptimBuildWarning)
        warnings.showwarning = show_warning
        try:
            app(args=left, prog_name="optimbuild")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else SAME
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # Python would exit with 1, which means "different"
            _print_error(error, len(left) < len(given))
    return TROUBLE


def _print_error(error: BaseException, with_traceback: bool) -> None:
    """Write an error to stderr; with its traceback if that was asked for, or if the error is none of ours."""
    message = str(error)
    if not isinstance(error, OptimBuildError):
        with_traceback = True
        message = "this is a mistake in optimbuild itself; please report it with the lines above"
        if not isinstance(error, Exception):  # nothing of ours raises such a thing
            message = f"{type(error).__name__}: {shown(str(error), 300)}, raised by code that optimbuild called"
    if with_traceback:
        lines = "".join(traceback.format_exception(error)).splitlines()
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
    print_message("Error", message)


def _version(asked: bool) -> None:
    if asked:
        from optimbuild import __version__

        print_text(f"optimbuild {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    traceback: Annotated[  # read by main, which takes it from any place
        bool, typer.Option(TRACEBACK, help="Print the Python traceback of an error, for authors of rules and models.")
    ] = False,
) -> None:
    pass


@app.command()
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
    if groups and params:
        raise ConfigError("--groups and --params are two views; give one of them")
    view = "groups" if groups else "params" if params else "folded"
    plans = plans_of_file(config, inventory_for(model, config), overrides, optimizer, world_size)
    several = len(plans) > 1
    if as_json:
        found = {name: _as_data(made, world_size) for name, made in plans.items()}
        print_text(json.dumps({"optimizers": found} if several else next(iter(found.values())), allow_nan=False) + "\n")
    else:
        for i, (name, made) in enumerate(plans.items()):
            print_lines([("", "")] * bool(i) + [(f"{name}:", "bold")] * several)
            _print_plan(made, view, world_size)
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


@app.command()
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
    from optimbuild.report.explain_text import explain_lines

    made = plan_of_file(config, inventory_for(model, config), overrides, optimizer, world_size)
    places = places_of_rules(config, made, overrides, optimizer, world_size)
    look: dict[str, Any] = {"places": places, "width": report_width(), "unicode": shows_unicode()}
    blocks = [explain_lines(made, name, **look) for name in params]
    print_lines(line for i, block in enumerate(blocks) for line in [("", "")] * bool(i) + block)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="CONFIG_A", help="A config file.", show_default=False)],
    after: Annotated[str, typer.Argument(metavar="CONFIG_B", help="Another one.", show_default=False)],
    model: Model = None,
    overrides: BothOverrides = None,
    first_overrides: FirstOverrides = None,
    second_overrides: SecondOverrides = None,
    optimizer: Optimizer = None,
    world_size: WorldSize = None,
    as_json: Json = False,
) -> None:
    """Compare the plans of two configs.

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

        print_lines(diff_lines(first, second, (titles[0], titles[1]), width=report_width()))
    for title, made, other in ((titles[0], first, second), (titles[1], second, first)):
        for warning in made.warnings:
            if warning not in other.warnings:  # a warning about both configs is not about their difference
                print_message("Warning", f"{title}: {warning}")
    raise typer.Exit(DIFFERENT if difference else SAME)


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None, typer.Argument(metavar="rules|optimizers", help="By default both.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One of them.", show_default=False)] = None,
) -> None:
    """List rules and optimizers, or the options of one.

    What installed plugins register is listed with the package that it comes from.
    """
    if kind is not None and kind not in KINDS:
        raise ConfigError(
            f"there is a list of {' and one of '.join(KINDS)}, not of {shown(kind)}.{suggest(kind, KINDS)}"
        )
    from optimbuild.report.registry_text import entry_lines, list_lines

    if kind is None or name is None:
        return print_lines(list_lines(KINDS if kind is None else (kind,)))
    return print_lines(entry_lines(kind, name))


@app.command()
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
    _refuse_other_file(output)
    try:
        Path(output).write_text(text, "utf-8")
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        raise ModelError(f"cannot write {shown(output)}: {getattr(error, 'strerror', None) or error}") from None
    return print_message("Wrote", f"{printable(output)}: {len(found)} tensors")


def _refuse_other_file(output: str) -> None:
    """Raise a ModelError if writing an inventory would replace a file that is none."""
    from optimbuild.model.inventory import Inventory

    if not os.path.isfile(output) or not os.path.getsize(output):
        return
    try:
        if os.path.getsize(output) > LARGEST_INVENTORY:
            raise ModelError(f"it has more than {LARGEST_INVENTORY} bytes")
        Inventory.read(output)
    except ModelError as error:
        raise ModelError(
            f"{shown(output)} exists and is no inventory file, so it is not replaced ({error}). "
            "Choose another name, or remove it first."
        ) from None


def _one_row_a_line(data: dict[str, Any]) -> str:
    """Return an inventory as JSON with one line per parameter, so that files can be compared line by line."""
    rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in data["params"])
    text = json.dumps({**data, "params": []}, indent=1, allow_nan=False)
    return text.replace('"params": []', f'"params": [\n  {rows}\n ]', 1) + "\n"


@app.command()
def schema() -> None:
    """Print the JSON Schema of our dialect.

    Editors check and complete configs by it; it has the options of every registered rule.
    """
    from optimbuild.config.schema import config_schema

    print_text(json.dumps(config_schema(), indent=2) + "\n")


@app.command()
def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as slow-embeddings.", show_default=False)],
) -> None:
    """Write a package with a rule, an optimizer and their tests.

    It is a new folder of this name in the current directory.
    """
    from optimbuild.plugin_template import write_plugin

    for path in write_plugin(name):
        print_message("Wrote", str(path))


@app.command()
def check_plugin(
    package: Annotated[
        str, typer.Argument(metavar="PACKAGE", help="A module, or what was installed.", show_default=False)
    ],
    leave_out: Annotated[
        list[str] | None, typer.Option("--leave-out", metavar="CHECK", help="A check that does not run. Repeatable.")
    ] = None,
) -> None:
    """Check each rule and optimizer of an installed package.

    The exit status is 0 if no check finds a fault, 1 if one does, and 2 for trouble. Needs pytest.
    """
    from optimbuild.testing import verdicts_on_plugin

    faulty = False
    for verdict in verdicts_on_plugin(package, leave_out or ()):
        print_text(f"{verdict}\n")
        faulty |= bool(verdict.faults)
    raise typer.Exit(DIFFERENT if faulty else SAME)
