"""Writing a new plugin: the files of the template under another name."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
from pathlib import Path

from optimbuild.errors import ConfigError
from optimbuild.messages import shown

FILES = Path(__file__).parent / "files"
TEMPLATE = "example_plugin"
"""The name that the template has in its files and folders; the distribution's has a hyphen."""


def write_plugin(name: str, folder: str | os.PathLike[str] = ".") -> list[Path]:
    """Write a package with a rule, an optimizer, tests that use :mod:`optimbuild.testing`, and the entry point.

    Args:
        name: The name of the package; it becomes the name of a folder, and hyphens become underscores in the module's.
        folder: Where that folder is made.

    Returns:
        The files.

    Raises:
        ConfigError: The name is none for a package, or is taken; or the folder cannot be written. Nothing was replaced.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(path.name for path in write_plugin("slow-embeddings", folder))[-3:]
    ['pyproject.toml', 'rules.py', 'test_slow_embeddings.py']
    """
    module, root = name.replace("-", "_"), Path(folder) / name
    _refuse_name(name, module)
    written = []
    try:
        root.mkdir(parents=True)
        for source in sorted(path for path in FILES.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            path = root / source.relative_to(FILES).as_posix().replace(TEMPLATE, module)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text("utf-8").replace(TEMPLATE, module)
            path.write_text(text.replace(TEMPLATE.replace("_", "-"), module.replace("_", "-")), "utf-8")
            written.append(path)
    except FileExistsError:
        raise ConfigError(f"{root} exists already, and nothing in it is replaced. Choose another name") from None
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename or root}: {error.strerror}") from None
    return written


def _refuse_name(name: str, module: str) -> None:
    """Raise a ConfigError for a name that no new package can have."""
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", module) or keyword.iskeyword(module):
        raise ConfigError(
            f"{shown(name)} cannot name a package. Write lowercase letters, digits and hyphens, as in slow-embeddings"
        )
    if module == "tests":
        raise ConfigError("'tests' is the folder of the package's own tests. Choose another name")
    if importlib.util.find_spec(module) is not None:
        raise ConfigError(f"there is a module {module} already, which the new one would hide. Choose another name")
