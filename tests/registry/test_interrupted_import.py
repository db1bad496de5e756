"""An interrupt during the first import of MMEngine's optimizers leaves the process usable."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import importlib, sys
from optimbuild.registry import OPTIMIZERS

class Interrupt:
    \"\"\"An importer that is interrupted where a module is asked for, once.\"\"\"
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
try:
    OPTIMIZERS.get("RMSprop")
except KeyboardInterrupt:
    print("interrupted")
print(OPTIMIZERS.get("RMSprop").__name__, OPTIMIZERS.get("ASGD").__name__)
import mmengine.optim
from mmengine.registry import OPTIM_WRAPPERS, PARAM_SCHEDULERS
print("OptimWrapper" in OPTIM_WRAPPERS, "LinearLR" in PARAM_SCHEDULERS)
"""


@pytest.mark.parametrize(
    "module", ["mmengine.optim.scheduler", "mmengine.optim.optimizer.default_constructor", "mmengine.optim.optimizer"]
)
def test_an_interrupted_import_of_mmengines_optimizers_can_be_repeated(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, module], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == ["interrupted", "RMSprop ASGD", "True True"], done.stdout
