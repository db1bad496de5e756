"""The registered rules and optimizers as text: names, origins and options."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from mmengine.registry.root import OPTIMIZERS as MMENGINE_OPTIMIZERS

from optimbuild.errors import OptimBuildError
from optimbuild.messages import printable
from optimbuild.registry import OPTIMIZERS, RULES, fill, find_optimizer, find_rule, load_plugins, origin
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.registry.packages import PACKAGES, OptimizerPackage
from optimbuild.registry.registry import NO_OPTIMIZERS
from optimbuild.registry.unimported import names_from_torch
from optimbuild.report.notation import option_text
from optimbuild.report.table import Line, labelled

Schema = dict[str, Any]

MMENGINE = "mmengine"
"""The scope of MMEngine's own registry."""

BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
WORDS = {"boolean": "true or false", "integer": "whole number", "object": "mapping", "null": "null", "array": "list"}


def list_lines(kinds: Sequence[str]) -> list[Line]:
    """Return the lines of a list of what is registered: each name with a summary and its origin.

    Args:
        kinds: ``rules``, ``optimizers``, or both.
    """
    load_plugins()
    lines: list[Line] = []
    for kind in kinds:
        registry = RULES if kind == "rules" else OPTIMIZERS
        pairs = []
        for name in registry.names():
            entry = registry.get(name)
            pairs += [(name, _summary(entry)), ("", place_text(entry))]
        lines += [("", "")] * bool(lines) + [(kind, "bold")]
        lines += [
            (f"  {text}".rstrip(), "" if i % 2 == 0 else "dim") for i, (text, _) in enumerate(labelled(pairs, None))
        ]
    if "optimizers" in kinds:
        theirs = f"{', '.join(names_from_torch())}; `optimbuild list {MMENGINE}` imports it, and lists all"
        lines += [("", ""), *labelled([("from MMEngine", theirs)], 100)]
        lines += [("", ""), ("packages of optimizers", "bold")]
        pairs = [(f"  {prefix}.…", _installed(package)) for prefix, package in PACKAGES.items()]
        lines += [(text, "") for text, _ in labelled(pairs, None)]
    return lines


def package_lines(package: OptimizerPackage) -> list[Line]:
    """Return the lines about a package: what is installed, and the names of its optimizers.

    Raises:
        MissingPackageError: It is not installed, or fails to import.
    """
    names = [f"{package.prefix}.{name}" for name in package.names()]
    return [
        (package.prefix, "bold"),
        (f"  {_installed(package)}", "dim"),
        ("", ""),
        *labelled([("  optimizers", ", ".join(names))], 100),
    ]


def _mmengine_lines() -> list[Line]:
    """Return the lines about MMEngine's own registry, which this fills with what MMEngine finds."""
    fill(MMENGINE_OPTIMIZERS)
    names = [f"{MMENGINE}.{name}" for name in sorted(set(MMENGINE_OPTIMIZERS.module_dict) - NO_OPTIMIZERS)]
    version = f"mmengine {metadata.version('mmengine')}"
    return [(MMENGINE, "bold"), (f"  {version}", "dim"), ("", ""), *labelled([("  optimizers", ", ".join(names))], 100)]


def _installed(package: OptimizerPackage) -> str:
    if package.version:
        return f"{package.distribution} {package.version}"
    return f"{package.distribution}, not installed: {package.how_to_get}"


def entry_lines(kind: str, name: str) -> list[Line]:
    """Return the lines about one rule, optimizer or package of optimizers.

    A rule or an optimizer is shown with its docstring, and its options with types and defaults.

    Raises:
        UnknownNameError: Nothing has this name; lists close names.
    """
    if kind == "optimizers" and name in PACKAGES:
        return package_lines(PACKAGES[name])
    if kind == "optimizers" and name == MMENGINE:
        return _mmengine_lines()
    entry: Any = find_rule(name) if kind == "rules" else find_optimizer(name)
    schema = _schema(entry)
    place = origin(entry)
    about = [plain_doc(line) for line in _doc(entry).splitlines()]
    lines = [(name, "bold"), (f"  {place_text(entry)}", "dim"), *[(f"  {place}", "dim")] * bool(place.file), ("", "")]
    lines += [(f"  {printable(line)}".rstrip(), "") for line in about]
    if isinstance(entry, OptimizerType):
        lines += [("", "")] * bool(about) + [(f"  {printable(_target(entry))}", "")]
    return [*lines, ("", ""), ("  options", "bold"), *_option_lines(entry, schema)]


def _schema(entry: Any) -> Schema:
    from optimbuild.config.schema import optimizer_schema, rule_schema, schema_of  # a list does not need it

    if not isinstance(entry, OptimizerType):
        return rule_schema(entry)
    return optimizer_schema(entry) if entry.schema is not None else schema_of(entry.options)


def _option_lines(entry: Any, schema: Schema) -> list[Line]:
    properties = schema.get("properties", {})
    pairs = []
    for option, about in properties.items():
        if option in schema.get("required", ()):
            default = "required"
        elif "const" in about:
            default = "fixed"
        else:
            default = f"default {option_text(about.get('default'))}"
        pairs.append((option, f"{type_text(about, schema.get('$defs', {}))}; {default}"))
        if "description" in about:
            pairs.append(("", plain_doc(" ".join(about["description"].split()))))
    if not properties:
        pairs = [("", "none" if "properties" in schema else f"{inspect.signature(entry)}, not declared with types")]
    return [(f"    {text}", style) for text, style in labelled(pairs, 100)]


def type_text(schema: Schema, definitions: Mapping[str, Schema]) -> str:
    """Return the type that a JSON Schema describes, in words.

    >>> type_text({"type": "array", "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}}, {})
    'list of number in (0, 1]'
    >>> type_text({"anyOf": [{"const": "auto"}, {"type": "null"}]}, {})
    'auto or null'
    """
    from optimbuild.config.schema import NUMERIC

    if "$ref" in schema:
        inside = definitions.get(schema["$ref"].rpartition("/")[-1], {})
        keys = ", ".join(inside.get("properties", ()))
        return f"mapping with {keys}" if keys else type_text(inside, definitions)
    if "const" in schema:
        return option_text(schema["const"])
    if "enum" in schema:
        return " or ".join(map(option_text, schema["enum"]))
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        texts = [type_text(choice, definitions) for choice in choices if choice.get("pattern") != NUMERIC]
        return " or ".join(dict.fromkeys(texts))
    if "prefixItems" in schema:
        return "[" + ", ".join(type_text(item, definitions) for item in schema["prefixItems"]) + "]"
    if schema.get("type") == "array" and "items" in schema:
        item = type_text(schema["items"], definitions)
        return f"list of ({item})" if " or " in item and item != WORDS["boolean"] else f"list of {item}"
    kind = str(schema.get("type", "anything"))
    return WORDS.get(kind, kind) + _bounds(schema)


def _bounds(schema: Schema) -> str:
    """Return the bounds of a number: an interval, or a single bound."""
    bounds = [(key, sign, schema[key]) for key, sign in BOUNDS.items() if key in schema]
    if len(bounds) < 2:
        return "".join(f" {sign} {value}" for _, sign, value in bounds)
    (low, _, lowest), (high, _, highest) = bounds
    return f" in {'(' if low.startswith('ex') else '['}{lowest}, {highest}{')' if high.startswith('ex') else ']'}"


def _summary(entry: Any) -> str:
    """Return the first line of the docstring; for an optimizer that is registered as data, its target."""
    if isinstance(entry, OptimizerType):
        return _target(entry)
    return plain_doc(_doc(entry).partition("\n")[0]) or "(no docstring)"


def _target(entry: OptimizerType) -> str:
    target = entry.target if isinstance(entry.target, str) else f"{entry.target.__module__}:{entry.target.__qualname__}"
    defaults = ", ".join(f"{key} {option_text(value)}" for key, value in entry.defaults.items())
    fixed = ", ".join(f"{key} {option_text(value)}" for key, value in entry.fixed.items())
    return target + f"; {defaults} unless told otherwise" * bool(defaults) + f"; fixed: {fixed}" * bool(fixed)


def _doc(entry: Any) -> str:
    if isinstance(entry, OptimizerType):
        try:
            entry = entry.schema or entry.load()
        except OptimBuildError as error:
            return str(error)
    doc = inspect.getdoc(entry) or ""
    return doc.partition("\n\n>>>")[0]


def place_text(entry: Any) -> str:
    """Return the module and line of an entry, and the package that it comes from."""
    place = origin(entry)
    return f"{place.module}:{place.line}" + f" ({place.package})" * bool(place.package)


def plain_doc(text: str) -> str:
    """Return a line of a docstring without reStructuredText markup."""
    return re.sub(r":\w+:`~?([^`]+)`", r"\1", text).replace("``", "`")
