"""Routing parameters to another optimizer."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

from optimbuild.edits import Edit, Edits
from optimbuild.errors import ConfigError
from optimbuild.messages import closest, counted, listing, shown
from optimbuild.model import Inventory, ParamInfo
from optimbuild.model.patterns import Pattern, PatternText
from optimbuild.model.routing_kinds import ALL_KINDS, AnyKind
from optimbuild.registry import rule
from optimbuild.values import Index, Keyword


@rule("route")
class Route:
    """Have another optimizer train some parameters: those of the patterns, kinds and dimensions that are given.

    Where several of these are given, all must hold. What ``except`` names stays where it was. The kinds are those of
    :class:`~optimbuild.ParamInfo`, and ``matrix``, ``output``, ``expert`` and ``router``, which are told from the
    structure of the model.

    Example:
        ``{type: route, to: muon, kinds: [matrix], except: [output, embedding, router]}``
    """

    to: Keyword
    """A name under ``optimizers``, or a registered type, which gets the options of ``optimizer`` that it takes."""
    patterns: tuple[PatternText, ...] = ()
    """Patterns, any of which is enough."""
    kinds: tuple[AnyKind, ...] = ()
    """Kinds, any of which is enough."""
    min_dims: Index | None = None
    """The least number of dimensions."""
    except_: tuple[PatternText, ...] = Field(default=(), alias="except")
    """Kinds and patterns of what is not routed."""

    def __post_init__(self) -> None:
        if not self.patterns and not self.kinds and self.min_dims is None:
            raise ValueError("route needs `patterns`, `kinds` or `min_dims`")

    def bind(self, model: Inventory) -> Edits:
        """Find what is routed, and say what ``except`` keeps back."""
        edits = Edits(model)
        everything = {param.name for param in model}
        by_pattern = {f"patterns[{i}]": (text, model.matching(Pattern(text))) for i, text in enumerate(self.patterns)}
        by_kind = {f"kinds[{i}]": (kind, model.of_kinds([kind])) for i, kind in enumerate(self.kinds)}
        for option, (text, found) in (by_pattern | by_kind).items():
            edits.ask(option, text, found, "" if found or option in by_pattern else _kinds_there(model, text))
        routed = _names(by_pattern.values(), everything) & _names(by_kind.values(), everything)
        routed &= {param.name for param in model if len(param.shape) >= (self.min_dims or 0)}
        kept = self._kept_back(model, routed, edits)
        chosen = [param for param in model if param.name in routed and param.name not in kept]
        anything = all(asked.params for asked in edits.asked)
        edits.give(chosen, Edit(optimizer=self.to, why=self._why()), "to" * anything, self.to, self._nothing_left(kept))
        return edits

    def _kept_back(self, model: Inventory, routed: Collection[str], edits: Edits) -> set[str]:
        """Return the names that ``except`` keeps back, noting them, and warn of a pattern that matches nothing."""
        kept: set[str] = set()
        for i, text in enumerate(self.except_):
            is_kind = text in ALL_KINDS
            found = model.of_kinds([text]) if is_kind else model.matching(Pattern(text))
            if not found and not is_kind:
                if close := closest(text, ALL_KINDS, n=1, cutoff=0.8):
                    hint = f"Did you mean the kind {close[0]!r}?"
                    raise ConfigError(f"{shown(text)} matches no parameter. {hint}", f"except[{i}]")
                edits.warn(f"except[{i}] {text!r} matches no parameter")
            names = [param.name for param in found if param.name in routed and param.name not in kept]
            if names:
                why = _evidence(model, text, names[0])
                edits.note(f"not routed to {self.to}, as except names {text}{why}: {listing(names)}")
            kept |= set(names)
        return kept

    def _nothing_left(self, kept: Collection[str]) -> str:
        if kept:
            return f"`except` keeps back all {len(kept)} that are of {self._why()}."
        return f"No parameter is of {self._why()} at once."

    def _why(self) -> str:
        parts = [f"kinds {', '.join(self.kinds)}"] if self.kinds else []
        parts += [f"patterns {', '.join(self.patterns)}"] if self.patterns else []
        parts += [f"at least {counted(self.min_dims, 'dimension')}"] if self.min_dims is not None else []
        return " and ".join(parts)


def _names(found: Collection[tuple[str, Collection[ParamInfo]]], everything: Collection[str]) -> set[str]:
    """Return the names that any of some options selects; all of them where there are no options."""
    return {param.name for _, params in found for param in params} if found else set(everything)


def _kinds_there(model: Inventory, kind: str) -> str:
    there = [known for known in ALL_KINDS if known != kind and model.of_kinds([known])]
    return f"{model.model or 'The model'} has no {kind}; its kinds are: {listing(there) or 'none'}."


def _evidence(model: Inventory, kind: str, name: str) -> str:
    why = model.routing_kinds[name].get(kind) or model[name].evidence.get(kind)
    return f" ({why})" if why else ""
