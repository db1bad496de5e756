"""``optimbuild schema``: our dialect for editors."""

from __future__ import annotations

import json

from optimbuild.cli.output import print_text


def schema() -> None:
    """Print the JSON Schema of our dialect.

    Editors check and complete configs by it; it has the options of every registered rule.
    """
    from optimbuild.config.schema import config_schema

    print_text(json.dumps(config_schema(), indent=2) + "\n")
