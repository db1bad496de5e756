"""The reference of rules, optimizers and keys, from the live registries and models, so that it cannot go stale."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, get_args, get_origin

from docutils import nodes
from docutils.statemachine import StringList
from field_words import hints, words
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from optimbuild.optimizer_type import OptimizerType
from optimbuild.registry import OPTIMIZERS, RULES

ROLE = re.compile(r":(?:py:)?(class|func|meth|data|mod|attr|exc):`([^`]+)`")


class Generated(SphinxDirective):
    """A piece of Markdown that is written at build time."""

    has_content = False
    optional_arguments = 1

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
    """Every registered rule, a section each."""

    def markdown(self) -> str:
        """Return the rules in the order of their names, those that reproduce other projects last."""
        names = sorted(RULES.names(), key=lambda name: (name in ("internvl_reference", "paramwise"), name))
        return "\n\n".join(_rule(name, RULES.get(name)) for name in names)


class Optimizers(Generated):
    """Every optimizer of ours, a section each."""

    def markdown(self) -> str:
        """Return the optimizers in the order of their names."""
        return "\n\n".join(_optimizer(OPTIMIZERS.get(name)) for name in OPTIMIZERS.names())


class Keys(Generated):
    """The fields of a model: ``{keys} optimbuild.spec:ZeroSpec zero.``, the prefix of the keys last."""

    optional_arguments = 2

    def markdown(self) -> str:
        """Return a definition list."""
        module, _, name = self.arguments[0].partition(":")
        prefix = self.arguments[1] if len(self.arguments) > 1 else ""
        cls = getattr(import_module(module), name)
        return _definitions(_fields(cls), prefix)


def _rule(name: str, cls: Any) -> str:
    fields = _definitions(_fields(cls)) or "It has no options."
    for field, nested in _nested(cls):
        fields += f"\n\nAn entry of `{field}` takes:\n\n{_definitions(_fields(nested))}"
    return f"(rule-{name})=\n## `{name}`\n\n{_docstring(cls)}\n\n{fields}\n\n{_source(cls.__module__)}"


def _nested(cls: Any) -> Iterator[tuple[str, Any]]:
    """Yield the models that stand in a list or mapping, with the name of the option that holds them."""
    for name, annotation in hints(cls).items():
        inside = get_args(get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation)
        yield from ((name, one) for one in inside if isinstance(one, type) and issubclass(one, BaseModel))


def _optimizer(kind: OptimizerType) -> str:
    target = kind.target if isinstance(kind.target, str) else f"{kind.target.__module__}:{kind.target.__qualname__}"
    kernels = ", ".join(kind.implementations)
    facts = [f"Class: `{target}`. Implementations, fastest first: {kernels}."]
    if kind.defaults:
        facts.append(f"Other defaults than the class's own: {_settings(kind.defaults)}.")
    if kind.fixed:
        facts.append(f"Fixed, so that a config cannot change them: {_settings(kind.fixed)}.")
    rows = [
        (key, kind_of, _default(kind.defaults.get(key, default)), text)
        for key, kind_of, default, text in _rows(kind.options)
        if key not in kind.fixed
    ]
    body = f"{_docstring(kind.options)}\n\n{' '.join(facts)}\n\n{_definitions(rows)}\n\n{_source(kind.where[0])}"
    return f"(optimizer-{kind.name})=\n## `{kind.name}`\n\n{body}"


def _settings(options: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}: {_yaml(value)}`" for key, value in options.items())


def _source(module: str) -> str:
    return f"*Registered by* `{module}`"


def _docstring(cls: type) -> str:
    """Return a docstring as Markdown: roles in MyST's spelling, the examples as blocks of YAML."""
    prose, _, example = _prose(inspect.getdoc(cls) or "").partition("\nExample:\n")
    if not example:
        return prose
    pieces = re.split(r"``(.+?)``", " ".join(example.split()))
    blocks = [f"```yaml\n{piece}\n```" if i % 2 else _sentence(piece) for i, piece in enumerate(pieces)]
    return "\n\n".join([prose, *filter(None, blocks)])


def _sentence(text: str) -> str:
    text = text.strip(" ,")
    return text[:1].upper() + text[1:]


def _prose(text: str) -> str:
    """Return reStructuredText with its roles in MyST's spelling."""
    return ROLE.sub(r"{py:\1}`\2`", text)


def _rows(cls: Any) -> Iterator[tuple[str, str, Any, str]]:
    fields = getattr(cls, "model_fields", None) or getattr(cls, "__pydantic_fields__", {})
    annotations = hints(cls)
    for name, info in fields.items():
        default = ... if info.is_required() else info.get_default(call_default_factory=True)
        if not info.description:
            raise LookupError(f"{cls.__qualname__}.{name} has no docstring")
        yield name, words(annotations[name]), default, _prose(info.description)


def _fields(cls: Any) -> list[tuple[str, str, str, str]]:
    return [(name, kind, _default(default), text) for name, kind, default, text in _rows(cls)]


def _default(value: Any) -> str:
    if value is ... or value is PydanticUndefined:
        return "required"
    return f"default `{_yaml(value)}`" if not hasattr(value, "model_fields") else ""


def _yaml(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


def _definitions(rows: list[tuple[str, str, str, str]], prefix: str = "") -> str:
    return "\n\n".join(
        f"`{prefix}{name}` {', '.join(filter(None, [kind, default]))}\n: {text}"
        for name, kind, default, text in rows
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("rules", Rules)
    app.add_directive("optimizers", Optimizers)
    app.add_directive("keys", Keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
