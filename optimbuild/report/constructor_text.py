"""The registered readings of published constructors as text: names, origins and keys."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from optimbuild.messages import printable
from optimbuild.registry import CONSTRUCTORS, load_plugins
from optimbuild.registry.constructor_type import ConstructorType
from optimbuild.report.notation import option_text
from optimbuild.report.registry_text import place_text, plain_doc, type_text
from optimbuild.report.table import Line, labelled

if TYPE_CHECKING:
    from optimbuild.config.schema import Schema


def constructors_lines() -> list[Line]:
    """Return the lines of a list of all constructors: each name with a summary and its origin."""
    load_plugins()
    pairs = []
    for name in CONSTRUCTORS.names():
        summary = _doc(CONSTRUCTORS.get(name)).partition("\n")[0]
        pairs += [(name, summary or "(no docstring)"), ("", place_text(CONSTRUCTORS.get(name)))]
    rows = enumerate(labelled(pairs, None))
    return [("constructors", "bold"), *[(f"  {text}".rstrip(), "" if i % 2 == 0 else "dim") for i, (text, _) in rows]]


def constructor_lines(name: str) -> list[Line]:
    """Return the lines about one constructor, with its docstring and the keys of ``paramwise_cfg`` that it reads.

    Raises:
        UnknownNameError: Nothing has this name; lists close names.
    """
    from optimbuild.config.schema import schema_of  # a list does not need it

    load_plugins()
    entry: ConstructorType = CONSTRUCTORS.get(name)
    lines = [
        (name, "bold"),
        (f"  {place_text(entry)}", "dim"),
        (f"  {CONSTRUCTORS.origin(name)}", "dim"),
        ("", ""),
    ]
    lines += [(f"  {printable(line)}".rstrip(), "") for line in _doc(entry).splitlines()]
    if entry.keys is None:
        return lines
    return [*lines, ("", ""), ("  keys of paramwise_cfg", "bold"), *_key_lines(schema_of(entry.keys))]


def _key_lines(schema: Schema) -> list[Line]:
    pairs = []
    for key, about in schema.get("properties", {}).items():
        default = f"default {option_text(about.get('default'))}"
        needed = "required" if key in schema.get("required", ()) else default
        pairs.append((key, f"{type_text(about, schema.get('$defs', {}))}; {needed}"))
        pairs += [("", plain_doc(" ".join(text.split())))] if (text := about.get("description")) else []
    return [(f"    {text}", style) for text, style in labelled(pairs, 100)]


def _doc(entry: ConstructorType) -> str:
    return plain_doc(inspect.getdoc(entry.read) or "")
