"""``python -m optimbuild``."""

from __future__ import annotations

import sys

from optimbuild.cli import main

if __name__ == "__main__":
    sys.exit(main())
