"""The libraries that a page is made with: they come from installed packages, and are put into the file."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

from optimbuild.errors import MissingPackageError


class Library(NamedTuple):
    """A file of an installed package.

    Args:
        package: The package, which has the name of its distribution.
        path: The file in it.
    """

    package: str
    path: str

    def text(self) -> str:
        """Return the content of the file.

        Raises:
            MissingPackageError: The package is not installed, or has no such file.
        """
        how = "Install what reports need: pip install 'optimbuild[report]'"
        try:
            return files(self.package).joinpath(self.path).read_text("utf-8")
        except ModuleNotFoundError:
            raise MissingPackageError(f"a report is made with {self.package}, which is not installed. {how}") from None
        except OSError:
            raise MissingPackageError(f"the {self.package} that is installed has no {self.path}. {how} -U") from None


PLOTLY = Library("plotly", "package_data/plotly.min.js")
"""Plotly.js (MIT), which draws the pictures."""
DATATABLES = Library("itables", "html/dt_bundle.js")
"""DataTables with its extension Scroller (MIT), an ECMAScript module, for the table."""
DATATABLES_STYLE = Library("itables", "html/dt_bundle.css")
"""The style of that table."""
