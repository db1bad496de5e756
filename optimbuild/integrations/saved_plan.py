"""A plan beside the checkpoints of a run, and what changed since when the run resumes."""

from __future__ import annotations

from pathlib import Path

from optimbuild.errors import OptimBuildError
from optimbuild.plan.plan import Plan


def write_plan(plan: Plan, folder: Path, name: str = "") -> None:
    """Write a plan into a folder, which is made where it is missing.

    Args:
        plan: The plan.
        folder: The folder.
        name: That of the optimizer, where there are several.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file_name(name)).write_text(plan.to_json(), "utf-8")


def file_name(name: str) -> str:
    """Return the name of the file that has the plan of an optimizer.

    >>> file_name(""), file_name("generator")
    ('plan.json', 'plan.generator.json')
    """
    return f"plan.{name}.json" if name else "plan.json"


def changes_since(saved: str, plan: Plan) -> str:
    """Say in a few words how a plan differs from one that was saved as JSON."""
    try:
        before = Plan.from_json(saved)
    except OptimBuildError as error:
        return f"another one, which cannot be read: {error}"
    if before.fingerprint == plan.fingerprint:
        return "the same"
    return "; ".join(before.diff(plan).lines()) or "another model with the same options"
