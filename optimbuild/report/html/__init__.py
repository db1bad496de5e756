"""Plans as HTML: a page of its own, and a table for notebooks."""

from optimbuild.report.html.document import page
from optimbuild.report.html.notebook import notebook_table

__all__ = ["notebook_table", "page"]
