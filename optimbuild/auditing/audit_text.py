"""An audit as text: the plan, and then the findings."""

from __future__ import annotations

from collections.abc import Sequence

from optimbuild.auditing.finding import Finding
from optimbuild.messages import counted
from optimbuild.plan.plan import Plan
from optimbuild.report.plan_text import plan_lines
from optimbuild.report.table import WIDTH, Line, labelled, text_of


def audit_text(plan: Plan, findings: Sequence[Finding], *, width: int = WIDTH) -> str:
    """Return an audit as text.

    Args:
        plan: The plan that an optimizer amounts to.
        findings: What was found.
        width: The width to fill, in characters. A name is never cut, so a line may be longer.
    """
    return text_of(audit_lines(plan, findings, width=width))


def audit_lines(plan: Plan, findings: Sequence[Finding], *, width: int = WIDTH, unicode: bool = True) -> list[Line]:
    """Return the lines of :func:`audit_text`."""
    return [*plan_lines(plan, width=width, unicode=unicode), ("", ""), *finding_lines(findings, width)]


def finding_lines(findings: Sequence[Finding], width: int) -> list[Line]:
    """Return the findings of an audit, the id of each and what it says."""
    if not findings:
        return [("no finding", "")]
    title = (f"{counted(len(findings), 'finding')}, explained on the page Audit of the documentation", "bold")
    return [title, *labelled([(each.id, each.text) for each in findings], width)]
