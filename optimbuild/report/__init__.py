"""Plans, explanations and differences as text for the terminal."""

from optimbuild.report.diff_text import diff_text
from optimbuild.report.explain_text import explain_text
from optimbuild.report.plan_text import plan_text

__all__ = ["diff_text", "explain_text", "plan_text"]
