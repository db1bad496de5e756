"""The table of rooms, from the contracts that CI checks."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

from registered import Generated
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]


class Layers(Generated):
    """The layers of ``pyproject.toml``, from the ground up, with the first line of each room's docstring."""

    def markdown(self) -> str:
        """Return a table."""
        contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
        layers = next(c for c in contracts if c["type"] == "layers")["layers"]
        no_torch = {module for c in contracts if c["type"] == "forbidden" and "torch" in c["forbidden_modules"]
                    for module in c["source_modules"]}  # fmt: skip
        rows = []
        for height, layer in enumerate(reversed(layers)):
            for room in (name.strip(" ()") for name in layer.replace(":", "|").split("|")):
                text = _first_line(room)
                if text:
                    torch = "no" if f"optimbuild.{room}" in no_torch else "yes"
                    rows.append(f"| {height} | `{room}` | {text} | {torch} |")
        self.env.note_dependency(str(ROOT / "pyproject.toml"))
        return "\n".join(["| layer | room | what lives there | may import torch |", "|---|---|---|---|", *rows])


def _first_line(room: str) -> str:
    for path in (ROOT / "optimbuild" / f"{room}.py", ROOT / "optimbuild" / room / "__init__.py"):
        if path.exists():
            docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            line = docstring.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
            return re.sub(r":\w+:`~?(?:\w+\.)*(\w+)`", r"`\1`", line)
    return ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("layers", Layers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
