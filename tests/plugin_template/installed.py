"""A package that is found as an installed one is, without an installer."""

from __future__ import annotations

import tomllib
from pathlib import Path


def pretend_to_install(project: Path, site: Path) -> list[str]:
    """Write what an installer would write about a project, and return the folders in which Python must search."""
    data = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
    info = site / f"{data['name'].replace('-', '_')}-{data['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {data['name']}\nVersion: {data['version']}\n")
    points = [f"{name} = {module}" for name, module in data["entry-points"]["optimbuild.plugins"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[optimbuild.plugins]", *points, ""]))
    return [str(site), str(project)]
