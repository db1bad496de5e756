"""The JSON Schema of our dialect, for editors, and of the options of rules and optimizers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from optimbuild.config.spec import Spec
from optimbuild.registry import OPTIMIZERS, RULES, find_optimizer, load_plugins
from optimbuild.registry.optimizer_type import KERNELS, OptimizerType

Schema = dict[str, Any]

NUMERIC = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
"""A number that YAML 1.1 reads as a string, such as ``1e-3``."""
KEYWORDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
"""pydantic's names of the bounds behind our validators, and JSON Schema's."""


def config_schema() -> Schema:
    """Return the JSON Schema of our dialect, with the options of every registered rule and optimizer.

    It has each name in the spelling in which it was registered. It allows any option of an optimizer whose options
    could be read only by importing its class.

    >>> config_schema()["properties"]["implementation"]["enum"]
    ['auto', 'fused', 'foreach', 'for-loop']
    """
    load_plugins()
    schema = schema_of(Spec)
    rules = {name: rule_schema(RULES.get(name)) for name in RULES.names()}
    optimizers = {name: optimizer_schema(find_optimizer(name)) for name in OPTIMIZERS.names()}
    definitions = schema.pop("$defs")
    for options in [*rules.values(), *optimizers.values()]:
        definitions |= options.pop("$defs", {})
    optional = definitions["RuleSpec"]["properties"]["optional"]
    definitions["RuleSpec"] = _chosen(definitions["RuleSpec"], rules, {"optional": optional})
    definitions["OptimizerSpec"] = _chosen(definitions["OptimizerSpec"], optimizers, {})
    choice = definitions["OptimizerSpec"]["properties"]["type"]
    choice["anyOf"] = [{"enum": choice.pop("enum")}, {"type": "string"}]  # MMEngine knows many more
    schema["properties"]["BASE"] = {
        "description": "Files to inherit from, relative to this one.",
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
    }
    required = {"required": schema.pop("required"), "properties": {"optimizer": {"required": ["type"]}}}
    del definitions["OptimizerSpec"]["required"]  # the BASE file may have it
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "optimbuild",
        **schema,
        "if": {"not": {"required": ["BASE"]}},
        "then": required,
        "$defs": definitions,
    }


def _chosen(schema: Schema, options: Mapping[str, Schema], more: Schema) -> Schema:
    """Return the schema of a mapping whose ``type`` decides which other keys it has."""
    kind = {**schema["properties"]["type"], "enum": list(options)}
    kind.pop("type")
    cases = []
    for name, known in options.items():
        inside = {**known, "properties": {"type": kind, **more, **known.get("properties", {})}}
        cases.append({"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": inside})
    return {
        "type": "object",
        "description": schema["description"],
        "properties": {"type": kind},
        "required": ["type"],
        "allOf": cases,
    }


def rule_schema(cls: Any) -> Schema:
    """Return the JSON Schema of a rule's options; it allows anything where they were not declared."""
    return schema_of(cls, cls.__qualname__) if hasattr(cls, "__pydantic_fields__") else {"type": "object"}


def optimizer_schema(kind: OptimizerType) -> Schema:
    """Return the JSON Schema of an optimizer's options; it allows anything where they were not declared."""
    if kind.schema is None:
        return {"type": "object"}
    schema = schema_of(kind.schema, kind.name)
    properties = schema.setdefault("properties", {})  # an open schema may declare none
    for key, value in kind.defaults.items():
        properties.setdefault(key, {})["default"] = value
    for key, value in kind.fixed.items():
        about = properties.get(key, {}).get("description", "")
        properties[key] = {"description": f"{about} Fixed.".lstrip(), "const": value}
    for kernel in KERNELS:
        if kernel in kind.implementations:
            about = f"Insist on the {kernel} implementation, or forbid it."
            properties[kernel] = {"description": about, "enum": [True, False, None], "default": None}
    return schema


def schema_of(source: Any, home: str = "") -> Schema:
    """Return the JSON Schema of a pydantic model or dataclass, simplified.

    Args:
        source: The model or dataclass.
        home: The prefix of its definitions, so that several schemas can share one ``$defs``.

    >>> from optimbuild.rules.dcn_lr import DcnLr
    >>> schema_of(DcnLr)["properties"]["factor"]["anyOf"][0]
    {'type': 'number', 'exclusiveMinimum': 0}
    """
    prefix = re.sub(r"\W+", "_", f"{home}.") if home else ""
    schema: Schema = _tidied(TypeAdapter(source).json_schema(ref_template=f"#/$defs/{prefix}{{model}}"))
    if "$defs" in schema:
        schema["$defs"] = {f"{prefix}{name}": definition for name, definition in schema["$defs"].items()}
    return schema


def _tidied(schema: Any) -> Any:
    """Use the names of bounds that JSON Schema has, allow numbers as YAML strings, and drop generated titles."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made: Schema = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            made[key] = {name: _tidied(item) for name, item in value.items()}
        elif key in ("default", "const", "enum"):
            made[key] = value
        elif key == "description":
            made[key] = value.partition("\n\n>>>")[0]
        elif key != "title":
            made[KEYWORDS.get(str(key), str(key))] = _tidied(value)
    if made.get("type") == "number":
        bounds = {key: made.pop(key) for key in ("type", *KEYWORDS.values()) if key in made}
        made["anyOf"] = [bounds, {"type": "string", "pattern": NUMERIC}]
    return made
