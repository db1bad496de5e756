"""Hints: what a model's own methods answer, asked when needed, or read where they were written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from optimbuild.errors import ModelError
from optimbuild.messages import listing, shown
from optimbuild.model.hint_answers import checked_answer, powers, timm_places
from optimbuild.model.names import modules_around

HOOKS = ("no_weight_decay", "no_weight_decay_keywords", "lr_decay_keywords", "get_layer_depth", "group_matcher")
"""The methods of a module that are asked, here called hooks."""

RATIOS = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.875, 0.9, 0.95)
"""The ratios for which an inventory file keeps what ``lr_decay_keywords(ratio)`` answers, unless told others."""


class Hints:
    """The hints of one module, and of the modules inside it. What a hook answered is kept as JSON data.

    Args:
        answers: By hook; those that take an argument by its ``repr``, or by the name of a parameter.
        live: The module's bound methods, by hook.
        inner: The hints of the modules inside that have hooks, by their canonical names, in model order.
        of: The module, for messages.

    >>> hints = Hints(live={"no_weight_decay": lambda: {"pos_embed"}})
    >>> hints.offers("get_layer_depth"), hints.no_weight_decay()
    (False, frozenset({'pos_embed'}))
    """

    def __init__(
        self,
        answers: Mapping[str, Any] | None = None,
        live: Mapping[str, Callable[..., Any]] | None = None,
        inner: Mapping[str, Hints] | None = None,
        of: str = "the model",
    ) -> None:
        known = (answers or {}).items()
        self.answers: dict[str, Any] = {hook: dict(a) if isinstance(a, dict) else list(a) for hook, a in known}
        self.inner: dict[str, Hints] = dict(inner or {})
        self.of = of
        self._live = dict(live or {})
        self._place: Callable[[str], list[float] | None] | None = None

    def copy(self) -> Hints:
        """Return the same hints; what the copy is answered from now on is not noted in this one."""
        inner = {path: hints.copy() for path, hints in self.inner.items()}
        return Hints(self.answers, self._live, inner, self.of)

    def recorded(self) -> Hints:
        """Return the hints with what was answered so far, without the model whose methods answered."""
        return Hints(self.answers, None, {path: hints.recorded() for path, hints in self.inner.items()}, self.of)

    def below(self, module: str) -> Hints:
        """Return the hints of a module inside, and of the modules inside that one."""
        start = f"{module}."
        own = self.inner.get(module, Hints(of=module))
        inner = {path.removeprefix(start): hints for path, hints in self.inner.items() if path.startswith(start)}
        return Hints(own.answers, own._live, inner, own.of)

    def offering(self, *hooks: str) -> Iterator[tuple[str, Hints]]:
        """Yield each module that has one of the hooks: what its names begin with, and its hints; the root first.

        >>> hints = Hints(inner={"backbone": Hints({"no_weight_decay": ["pos_embed"]})})
        >>> [prefix for prefix, _ in hints.offering("no_weight_decay")]
        ['backbone.']
        """
        for prefix, hints in [("", self), *((f"{path}.", hints) for path, hints in self.inner.items())]:
            if any(map(hints.offers, hooks)):
                yield prefix, hints

    def offers(self, hook: str) -> bool:
        """Say whether the module has this hook."""
        return hook in self._live or hook in self.answers

    def no_weight_decay(self) -> frozenset[str]:
        """Return the names for which the model wants no weight decay."""
        return frozenset(self._ask("no_weight_decay"))

    def no_weight_decay_keywords(self) -> tuple[str, ...]:
        """Return the pieces of names for which the model wants no weight decay."""
        return tuple(self._ask("no_weight_decay_keywords"))

    def lr_decay_keywords(self, ratio: float) -> dict[str, float]:
        """Return LR factors by a piece of the name, in the model's order.

        An inventory file holds the answers for some ratios. Where every factor in it is a power of its
        ratio, to the last bit and the same for each of them, those powers of another ratio are its answer.

        Raises:
            ModelError: An inventory file does not hold the answer for this ratio, nor powers.

        >>> Hints({"lr_decay_keywords": {"0.5": {"blocks.1.": 0.5, "blocks.0.": 0.25}}}).lr_decay_keywords(0.1)
        {'blocks.1.': 0.1, 'blocks.0.': 0.010000000000000002}
        """
        known, key = self.answers.get("lr_decay_keywords", {}), repr(ratio)
        if key not in known and "lr_decay_keywords" not in self._live:
            derived = powers(ratio, known)
            if derived is not None:
                return derived
        found: dict[str, float] = self._ask_for("lr_decay_keywords", key, ratio)
        return found

    def get_layer_depth(self, name: str) -> tuple[int, int]:
        """Return a parameter's layer, counted from the input, and the number of layers."""
        layer, layers = self._ask_for("get_layer_depth", name, name)
        return layer, layers

    def group_of(self, name: str) -> tuple[float, ...]:
        """Return the place of a parameter's group in timm's order, as ``group_matcher(coarse=False)`` has it."""
        found = self._ask_for("group_matcher", name, name)
        return (float("inf"),) if found is None else tuple(found)

    def record(
        self,
        names: Sequence[str],
        ratios: Sequence[float] = RATIOS,
        aliases: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Ask everything that an inventory file keeps, so that :attr:`answers` holds it.

        Args:
            names: The names of the parameters below the module, as the module calls them.
            ratios: The ratios for which ``lr_decay_keywords`` is asked.
            aliases: The other names of shared parameters, by which a module inside may know them.
        """
        for hook in ("no_weight_decay", "no_weight_decay_keywords"):
            self._ask(hook)
        for ratio in ratios if "lr_decay_keywords" in self._live else ():
            self.lr_decay_keywords(ratio)
        for hook in ("get_layer_depth", "group_matcher"):
            for name in names if hook in self._live else ():
                self._ask_for(hook, name, name)
        below: dict[str, dict[str, str]] = {path: {} for path in self.inner}
        for name in names if below else ():
            for known in (name, *aliases.get(name, ())):
                for path in filter(below.__contains__, modules_around(known)):
                    below[path].setdefault(name, known[len(path) + 1 :])
        for path, hints in self.inner.items():
            hints.record(list(below[path].values()), ratios)

    def to_dict(self) -> dict[str, Any]:
        """Return what is known as JSON data: the part of an inventory file that holds hooks."""
        inner = {path: hints.answers for path, hints in self.inner.items()}
        return {"hooks": self.answers, **({"inner_hooks": inner} if inner else {})}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Hints:
        """Return the hints that :meth:`to_dict` wrote, checked as a module's own answers would be.

        Raises:
            ModelError: An answer is of the wrong form.
        """
        inner = data.get("inner_hooks") or {}
        if not isinstance(inner, dict):
            raise ModelError(f"`inner_hooks` must be an object of modules and their hooks, not {shown(inner)}")
        below = {
            path: cls(_checked(answers, f"inner_hooks[{shown(path)}]"), of=path) for path, answers in inner.items()
        }
        return cls(_checked(data.get("hooks") or {}, "hooks"), inner=below)

    def _ask(self, hook: str) -> list[str]:
        if hook not in self.answers:
            if hook not in self._live:
                return []
            self.answers[hook] = checked_answer(f"{hook}() of {self.of}", hook, self._call(hook))
        found: list[str] = self.answers[hook]
        return found

    def _ask_for(self, hook: str, key: str, argument: Any) -> Any:
        known = self.answers.setdefault(hook, {})
        if key not in known:
            if hook not in self._live:
                raise ModelError(
                    f"this inventory does not know what {hook}({shown(argument)}) answers, only for: "
                    f"{listing(list(known), 10) or 'nothing'}. Write it again from the model with "
                    "`optimbuild inventory`" + (f" --ratio {argument}" if hook == "lr_decay_keywords" else "")
                )
            answer = self._group(argument) if hook == "group_matcher" else self._call(hook, argument)
            known[key] = checked_answer(f"{hook}({shown(argument)}) of {self.of}", hook, answer)
        return known[key]

    def _group(self, name: str) -> Any:
        if self._place is None:
            self._place = timm_places(self._call("group_matcher", False), self.of)
        try:
            return self._place(name)
        except Exception as error:
            raise ModelError(
                f"what group_matcher() of {self.of} answers raised {type(error).__name__} "
                f"for {shown(name)}: {shown(str(error), 200)}. Write `layers` by hand in layer_decay."
            ) from error

    def _call(self, hook: str, *arguments: Any) -> Any:
        try:
            return self._live[hook](*arguments)
        except (Exception, SystemExit) as error:
            asked = ", ".join(shown(a) for a in arguments)
            raised = f"{hook}({asked}) of {self.of} raised {type(error).__name__}: {shown(str(error), 200)}"
            instead = "`hints: false` in no_decay" if hook.startswith("no_") else "`layers` by hand in layer_decay"
            raise ModelError(
                f"{error if isinstance(error, ModelError) else raised}. Mend the hook, or do without it: {instead}."
            ) from error


def _checked(answers: Any, where: str) -> dict[str, Any]:
    """Return the answers of hooks as a file holds them, checked as a module's own would be."""
    if not isinstance(answers, dict) or not set(answers) <= set(HOOKS):
        raise ModelError(f"`{where}` must be an object with any of: {listing(HOOKS)}")
    checked: dict[str, Any] = {}
    for hook, answer in answers.items():
        if hook.startswith("no_weight_decay"):
            checked[hook] = checked_answer(f"{where}.{hook}", hook, answer)
        elif isinstance(answer, Mapping) and all(isinstance(key, str) for key in answer):
            checked[hook] = {
                key: checked_answer(f"{where}.{hook}[{shown(key)}]", hook, found) for key, found in answer.items()
            }
        else:
            raise ModelError(f"{where}.{hook} must be an object, not {shown(answer)}")
    return checked
