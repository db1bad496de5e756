"""Plans as HTML: a page of its own, and a table for notebooks."""

from optimbuild.report.html.notebook import notebook_table
from optimbuild.report.html.page import page

__all__ = ["notebook_table", "page"]
