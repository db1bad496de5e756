"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from benchmarks import document
from benchmarks.machine import description
from benchmarks.measuring import FULL, QUICK
from benchmarks.results import Result

NAMES = ("build", "step", "composite", "zero", "schedule", "plan", "audit", "startup", "resume")

IN_BROWSER = ("report",)
"""What needs Chromium and optimbuild[report], and runs only where it is asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks, print what they found, and store it where told.

    Args:
        arguments: What stands after ``python -m benchmarks``.
    """
    asked = parser().parse_args(arguments)
    if asked.redraw:
        document.write(asked.redraw, json.loads((asked.redraw / document.RESULTS).read_text("utf-8")))
        return 0
    for category in (FutureWarning, UserWarning):  # of packages that are only compared with
        warnings.filterwarnings("ignore", category=category)
    machine = description()
    print(document.machine_text(machine))
    found = {}
    for name in asked.names or NAMES:
        started = time.perf_counter()
        print(f"\n{name} …", flush=True, file=sys.stderr)
        result: Result = importlib.import_module(f"benchmarks.{name}").run(QUICK if asked.quick else FULL)
        print(document.result_text(result))
        print(f"({name}: {time.perf_counter() - started:.0f} s)", file=sys.stderr)
        found[name] = result.to_dict()
    data = {"machine": machine, "quick": asked.quick, "results": found}
    if asked.json:
        asked.json.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    if asked.docs:
        document.write(asked.docs, data)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*NAMES, *IN_BROWSER]
    made.add_argument("names", nargs="*", metavar="NAME", choices=[*names, []], help=f"any of: {', '.join(names)}")
    made.add_argument("--json", type=Path, metavar="FILE", help="store the results as JSON")
    made.add_argument("--quick", action="store_true", help="small sizes and few rounds: see that it works")
    made.add_argument("--docs", type=Path, metavar="DIR", help="write tables and plots into DIR/benchmarks.md")
    made.add_argument("--redraw", type=Path, metavar="DIR", help="write them again, from the results stored there")
    return made


if __name__ == "__main__":
    sys.exit(main())
