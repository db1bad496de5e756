"""The plugin example, as an installed package is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"
USE = """
from optimbuild import Inventory, ParamInfo, make_plan
model = Inventory((ParamInfo("token.weight", (10, 4), kinds=frozenset({"embedding"})), ParamInfo("fc.weight", (4, 4))))
config = {"optimizer": {"type": "adamw", "lr": 1e-3}, "rules": [{"type": "embedding_lr", "factor": 0.5}]}
print(*[decision.lr for decision in make_plan(config, model)])
"""


def test_a_rule_of_an_installed_package_is_found_without_an_import(tmp_path: Path):
    installed = tmp_path / "embedding_lr-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: embedding-lr\nVersion: 1.0\n")
    entry_points = (
        (PLUGIN / "pyproject.toml").read_text("utf-8").partition('"optimbuild.plugins"]\n')[2].splitlines()[0]
    )
    (installed / "entry_points.txt").write_text(f"[optimbuild.plugins]\n{entry_points.replace(chr(34), '')}\n")
    path = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(PLUGIN)!r}, {str(PLUGIN.parents[1])!r}]\n"
    done = subprocess.run([sys.executable, "-c", path + USE], capture_output=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "0.0005 0.001"), done.stderr
