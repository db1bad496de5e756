"""Scopes of MMEngine's registries, and the packages that fill them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import Registry
from mmengine.registry.root import OPTIMIZERS as ROOT

from optimbuild.messages import shown

_FAILED: dict[str, str] = {}
"""By scope what importing its package raised; a package that failed halfway is not imported again."""


def import_scope(scope: object) -> None:
    """Import the package of a scope, as MMEngine does before it looks for a name there.

    This runs the package: it is for the scopes of a config that is a program itself. A package that is missing or
    fails is no error here, for a name may be found without it; :func:`missing_package` tells of it.

    Args:
        scope: The scope; what cannot be one is passed over.
    """
    if not isinstance(scope, str) or not scope.isidentifier() or scope in _FAILED:
        return
    if scope not in ROOT.children and scope != ROOT.scope:
        _guarded(scope, lambda: importlib.import_module(f"{scope}.registry"))
    if scope in ROOT.children:
        fill_child(ROOT.children[scope])


def fill_child(registry: Registry) -> None:
    """Import the modules that a package lists for its registry; one that fails leaves what is registered by then."""
    if registry.scope not in _FAILED:
        _guarded(registry.scope, registry.import_from_location)


def _guarded(scope: str, work: Callable[[], object]) -> None:
    """Run an import, with what it prints on stderr, and keep what it raises for messages."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            work()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # a package may raise anything
        _FAILED[scope] = f"{type(error).__name__}: {shown(str(error), 200)}"


def _is_installed(package: str) -> bool:
    try:
        return package.isidentifier() and importlib.util.find_spec(package) is not None
    except ValueError:  # a module without a place, such as __main__
        return True


def missing_package(scope: str) -> str:
    """Return why names of a scope are not known, and what to do; nothing where its registry is there.

    >>> missing_package("nowhere")
    "The package of the scope 'nowhere' is not installed: pip install nowhere."
    >>> missing_package("mmengine")
    ''
    """
    if scope == ROOT.scope:
        return ""
    if not _is_installed(scope):
        package = MODULE2PACKAGE.get(scope, scope)
        return f"The package of the scope {shown(scope)} is not installed: pip install {package}."
    if scope in _FAILED:
        return f"The package of the scope {shown(scope)} cannot be imported: {_FAILED[scope]}."
    if scope not in ROOT.children:
        return (
            f"The package of the scope {shown(scope)} is imported for configs in Python only; "
            f"elsewhere `import {scope}.registry` first."
        )
    return ""
