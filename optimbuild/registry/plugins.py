"""Plugins: modules that installed packages declare as entry points, imported once."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import metadata

from optimbuild.messages import warn

PLUGINS = "optimbuild.plugins"


_loaded: set[tuple[str, str]] = set()


def plugins_are_off() -> bool:
    """Say whether the environment forbids to import packages for the names that they register."""
    return os.environ.get("OPTIMBUILD_PLUGINS", "").lower() == "none"


def load_plugins() -> None:
    """Import the modules that installed packages declare in the entry-point group ``optimbuild.plugins``.

    Each is imported once. One that fails gives a warning that names its distribution and the error.
    ``OPTIMBUILD_PLUGINS=none`` in the environment turns plugins off.
    """
    if plugins_are_off():
        return
    for entry in _declared(tuple(sys.path)):
        if (entry.name, entry.value) in _loaded:
            continue
        _loaded.add((entry.name, entry.value))
        try:
            entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  # a plugin may raise anything
            package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
            warn(
                f"plugin {entry.name!r} of {package} ({entry.value}) failed to import and is left out: "
                f"{type(error).__name__}: {error}"
            )


@lru_cache(maxsize=1)
def _declared(path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:  # noqa: ARG001  # the key of the cache
    """Return the plugins of all installed packages. Cached, because it reads a file of each package."""
    return tuple(metadata.entry_points(group=PLUGINS))
