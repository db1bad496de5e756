"""The reference of rules, optimizers and keys, from the live registries and models, so that it cannot go stale."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from optimbuild.config.schema import Schema, optimizer_schema, rule_schema, schema_of
from optimbuild.registry import OPTIMIZERS, RULES
from optimbuild.registry.optimizer_type import OptimizerType
from optimbuild.report.notation import option_text
from optimbuild.report.registry_text import type_text

ROLE = re.compile(r":(?:py:)?(class|func|meth|data|mod|attr|exc):`([^`]+)`")
FROM_OTHERS = ("internvl_reference", "paramwise")
"""Rules that reproduce what other projects do; they come last."""


class Generated(SphinxDirective):
    """A piece of Markdown that is written at build time."""

    def markdown(self) -> str:
        """Return the text."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the text where the directive stands."""
        node = nodes.section()
        node.document = self.state.document
        source, line = self.get_source_info()
        nested_parse_with_titles(self.state, StringList(self.markdown().splitlines(), source), node, line)
        return node.children


class Rules(Generated):
    """Every rule of ours, a section each."""

    def markdown(self) -> str:
        """Return the rules in the order of their names."""
        names = sorted(RULES.names(), key=lambda name: (name in FROM_OTHERS, name))
        return "\n\n".join(_rule(name, RULES.get(name)) for name in names)


class Optimizers(Generated):
    """Every optimizer of ours, a section each."""

    def markdown(self) -> str:
        """Return the optimizers in the order of their names."""
        return "\n\n".join(_optimizer(OPTIMIZERS.get(name)) for name in OPTIMIZERS.names())


class Keys(Generated):
    """The keys of a model, such as ``{keys} optimbuild.config.spec:ZeroSpec zero.``, and what comes before each key."""

    required_arguments = 1
    optional_arguments = 1

    def markdown(self) -> str:
        """Return a definition list."""
        module, _, name = self.arguments[0].partition(":")
        return _options(schema_of(getattr(import_module(module), name)), *self.arguments[1:])


def _rule(name: str, cls: Any) -> str:
    schema = rule_schema(cls)
    parts = [f"(rule-{name})=\n## `{name}`", _docstring(cls), _options(schema) or "It has no options."]
    for option, entry in _entries(schema):
        parts += [f"Each entry of `{option}` takes:", _options(entry)]
    return "\n\n".join([*parts, f"Registered by `{cls.__module__}`."])


def _optimizer(kind: OptimizerType) -> str:
    target = kind.target if isinstance(kind.target, str) else f"{kind.target.__module__}:{kind.target.__qualname__}"
    facts = f"Class: `{target}`. Implementations, fastest first: {', '.join(kind.implementations)}."
    changed = "".join(
        f" {words}: {', '.join(f'`{key}: {option_text(value)}`' for key, value in options.items())}."
        for words, options in (("Other defaults than the class's own", kind.defaults), ("Fixed", kind.fixed))
        if options
    )
    return "\n\n".join(
        [
            f"(optimizer-{kind.name})=\n## `{kind.name}`",
            _docstring(kind.schema),
            facts + changed,
            _options(optimizer_schema(kind)),
            f"Registered by `{kind.where[0]}`.",
        ]
    )


def _options(schema: Schema, prefix: str = "") -> str:
    """Return options as a definition list: name, type, default, and the docstring under the field."""
    rows = []
    for name, about in schema.get("properties", {}).items():
        if "description" not in about:
            raise LookupError(f"{name} of {schema.get('description')!r} has no docstring")
        kind = type_text(about, schema.get("$defs", {}))
        rows.append(f"`{prefix}{name}` {kind}{_default(schema, name, about)}\n: {_prose(about['description'])}")
    return "\n\n".join(rows)


def _default(schema: Schema, name: str, about: Mapping[str, Any]) -> str:
    if name in schema.get("required", ()):
        return ", required"
    if "default" not in about or isinstance(about["default"], Mapping):
        return ", fixed" if "const" in about else ""
    return f", default `{option_text(about['default'])}`"


def _entries(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Yield, by the option, the schema of the mappings that stand in its list or mapping."""
    for option, about in schema.get("properties", {}).items():
        for home in [about, *about.get("anyOf", ())]:
            for inside in (home.get("items"), home.get("additionalProperties")):
                if isinstance(inside, Mapping) and "$ref" in inside:
                    yield option, schema["$defs"][inside["$ref"].rpartition("/")[-1]]


def _docstring(cls: Any) -> str:
    """Return a docstring as Markdown: its examples as blocks of YAML."""
    prose, _, example = _prose(inspect.getdoc(cls) or "").partition("\nExample:\n")
    pieces = re.split(r"``(.+?)``", " ".join(example.split()))
    blocks = [f"```yaml\n{piece}\n```" if i % 2 else _sentence(piece) for i, piece in enumerate(pieces)]
    return "\n\n".join([prose, *filter(None, blocks)])


def _prose(text: str) -> str:
    """Return reStructuredText with its roles in MyST's spelling."""
    return ROLE.sub(r"{py:\1}`\2`", text)


def _sentence(text: str) -> str:
    text = text.strip(" ,")
    return text[:1].upper() + text[1:]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("rules", Rules)
    app.add_directive("optimizers", Optimizers)
    app.add_directive("keys", Keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
