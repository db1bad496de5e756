"""A plan for people: in the terminal."""

from optimbuild.report.terminal import diff_text, explain_text, plan_text

__all__ = ["diff_text", "explain_text", "plan_text"]
