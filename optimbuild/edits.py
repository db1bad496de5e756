"""What rules want: an edit for one parameter, and the edits of one rule for a whole model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple

from optimbuild.errors import ModelError, RuleError
from optimbuild.messages import listing, shown
from optimbuild.model.inventory import Inventory
from optimbuild.model.param_info import ParamInfo

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


def _no_options() -> Mapping[str, Any]:
    return _NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Edit:
    """What one rule wants for one parameter.

    Args:
        set: Options to replace.
        scale: Factors for options, applied after ``set``.
        freeze: Take the parameter out of training; final.
        optimizer: The name of another optimizer for this parameter.
        why: The reason, for people.
        marks: Entries of the parameter's group that the optimizer's constructor does not take, for a hook or a
            ``step`` that reads them there.
        group: The name of a group for it; only parameters with the same name share a group, whatever their options.
            See :meth:`Edits.order_groups`.

    >>> Edit(scale={"lr": 0.1}, why="deformable").scale["lr"]
    0.1
    """

    set: Mapping[str, Any] = field(default_factory=_no_options)
    scale: Mapping[str, float] = field(default_factory=_no_options)
    freeze: bool = False
    optimizer: str | None = None
    why: str = ""
    marks: Mapping[str, Any] = field(default_factory=_no_options)
    group: str = ""


class Asked(NamedTuple):
    """An option of a rule that selects parameters, and those that it selects.

    Args:
        option: The option's path in the rule, such as ``patterns[0]``.
        text: What stands there, for messages.
        params: All parameters that it selects, also those that an earlier option took.
        hint: What would be right where it selects none.
        by_name: Whether the text selects by names, so that the other names of a shared tensor are told.
        taken_by: The earlier options, or reasons, that take all of them, and give them something else.
    """

    option: str
    text: str
    params: Sequence[ParamInfo]
    hint: str = ""
    by_name: bool = False
    taken_by: tuple[str, ...] = ()


class Remark(NamedTuple):
    """A warning or a note of a rule.

    Args:
        text: What it says.
        about: The parameters that it is about; None where it is about none in particular.
        option: The option that a note is about; parameters that get 0 of it without the rule are left out.
    """

    text: str
    about: tuple[ParamInfo, ...] | None = None
    option: str = ""


class Edits:
    """The edits of one rule for a whole model, and what the rule noticed.

    A rule's ``bind(model)`` makes one, says in order who gets what, and returns it. The first edit that a parameter
    is given counts.

    Args:
        model: The model's parameters and hints.

    >>> model = Inventory((ParamInfo("stem.weight", (4, 4)), ParamInfo("head.weight", (4, 4))))
    >>> edits = Edits(model)
    >>> edits.give(model.containing("head"), Edit(scale={"lr": 10.0}, why="head"))
    1
    >>> edits.give(model, Edit(scale={"lr": 0.1}, why="everything else"))
    1
    >>> [edits[param.name].why for param in model]
    ['everything else', 'head']
    """

    def __init__(self, model: Inventory) -> None:
        self.model = model
        self.table: list[Edit | None] = [None]  # the edits that were given, by their numbers
        self.numbers = [0] * len(model)  # for every parameter the number of its edit; 0 for none
        self._number_of: dict[int, int] = {}  # by the id of an edit in the table
        self._option_of: dict[int, str] = {}  # by the number of an edit the option that gives it
        self.asked: list[Asked] = []
        self.warnings: list[Remark] = []
        self.notes: list[Remark] = []
        self.kept: list[str] = []
        self.released: list[str] = []
        self.marks: list[str] = []
        self.groups: dict[str, Edit] = {}

    def give(self, who: Iterable[ParamInfo], edit: Edit, option: str = "", text: str = "", hint: str = "") -> int:
        """Give an edit to every parameter that has none yet.

        Args:
            who: Parameters of the model.
            edit: What they get.
            option: The path of the option that selects them, such as ``patterns[0]``. An option that selects no
                parameter is an error, unless the config calls the rule ``optional``.
            text: What that option says, for messages; the reason of the edit by default.
            hint: What to write instead where it selects none; by default the closest names.

        Returns:
            How many parameters had none yet.

        Raises:
            RuleError: One of them is no parameter of the model; a name is none.
        """
        found = self._listed(who)
        number, taken = self._number(edit), 0
        numbers, positions = self.numbers, self._positions(found)
        for position in positions:
            if not numbers[position]:
                numbers[position] = number
                taken += 1
        if option:
            self._option_of.setdefault(number, option)
            takers = () if taken else self._takers(edit, positions)
            self.asked.append(Asked(option, text or edit.why, found, hint, by_name=True, taken_by=takers))
        return taken

    def _takers(self, edit: Edit, positions: Sequence[int]) -> tuple[str, ...]:
        """Return what gave all of some parameters their edits; nothing where these do what another edit would do."""
        first = dict.fromkeys([self.numbers[position] for position in positions])
        if all(_does(self.table[number]) == _does(edit) for number in first):
            return ()
        return tuple([self._option_of.get(n) or getattr(self.table[n], "why", "") or "an earlier edit" for n in first])

    def ask(
        self,
        option: str,
        text: str,
        params: Sequence[ParamInfo],
        hint: str = "",
        *,
        by_name: bool = False,
        taken_by: Sequence[str] = (),
    ) -> None:
        """Record which parameters an option selects, without an edit; one that selects none is an error.

        Args:
            option: The option's path, such as ``patterns[0]``.
            text: What it says, for messages.
            params: What it selects.
            hint: What to write instead where it selects none.
            by_name: Whether the text is a pattern over names. A note tells the other names of tensors that it selects.
            taken_by: The earlier options that take all of them; a warning says so.
        """
        self.asked.append(Asked(option, text, params, hint, by_name, tuple(taken_by)))

    def warn(self, text: str, about: Iterable[ParamInfo] | None = None) -> None:
        """Add what the user should know.

        Args:
            text: The warning.
            about: The parameters that it is about, whose names are listed behind it. Frozen ones are left out, and
                those to which another rule of this name gives an edit; where none is left, nothing is said.
        """
        self.warnings.append(Remark(text, None if about is None else tuple(about)))

    def note(self, text: str, about: Iterable[ParamInfo] | None = None, option: str = "") -> None:
        """Add where the rule took its knowledge from, or what is good to know.

        Args:
            text: The note.
            about: The parameters that it is about, whose names are listed behind it. Frozen ones are left out; where
                none is left, nothing is said.
            option: An option, such as ``weight_decay``: parameters that get 0 of it without this rule, from the
                optimizer or another rule, are left out too.
        """
        self.notes.append(Remark(text, None if about is None else tuple(about), option))

    def note_shared(self, otherwise: str) -> None:
        """Note the tensors that modules share, if there are any.

        Args:
            otherwise: What the code does with them that the rule reads the config of.
        """
        if shared := [param for param in self.model if param.aliases]:
            self.note(f"a tensor that modules share is planned once, by its first name; {otherwise}", shared)

    def keep_statistics(self, modules: Iterable[str]) -> None:
        """Keep the running statistics of modules as they are: in eval mode through every ``model.train()``.

        Args:
            modules: Their canonical names, such as those in ``model.statistics``.
        """
        self.kept += modules

    def release_statistics(self, modules: Iterable[str]) -> None:
        """Let the running statistics of modules change although all of their parameters are frozen.

        Args:
            modules: Their canonical names.
        """
        self.released += modules

    def order_groups(self, groups: Mapping[str, Edit]) -> None:
        """Have the optimizer's groups begin with these, in this order, whether or not any parameter is in them.

        Args:
            groups: By the name of a group the edit that its parameters get; its options are those of an empty group.
        """
        self.groups |= groups

    def reads(self, *marks: str) -> None:
        """Say that the rule reads marks that a model's authors set on tensors, such as ``_no_weight_decay``."""
        self.marks += marks

    def _number(self, edit: Edit) -> int:
        number = self._number_of.setdefault(id(edit), len(self.table))
        if number == len(self.table):
            self.table.append(edit)
        return number

    def _listed(self, who: Any) -> Sequence[ParamInfo]:
        if isinstance(who, (str, ParamInfo)) or not isinstance(who, Iterable):
            raise RuleError(f"has edits for {shown(who)}; an edit is given to a list of parameters of the model")
        return who if isinstance(who, Sequence) else list(who)

    def _positions(self, params: Sequence[Any]) -> list[int]:
        try:
            return self.model.positions([param.name for param in params])
        except (AttributeError, TypeError, ModelError):
            raise RuleError(f"has edits for {self._strange(params)}") from None

    def _strange(self, params: Sequence[Any]) -> str:
        """Say what among those that shall get an edit is no parameter of the model."""
        for param in params:
            if isinstance(param, str) and param in self.model:
                return f"the name {shown(param)}, where a parameter must be: write model[{shown(param)}]"
            if not isinstance(param, ParamInfo) or param.name not in self.model:
                return f"{shown(getattr(param, 'name', param))}, which names no parameter"
        return f"{shown(params)}, which are no parameters"

    def rest(self) -> list[ParamInfo]:
        """Return the parameters that have no edit, in model order."""
        return [param for param, number in zip(self.model, self.numbers, strict=True) if not number]

    def __getitem__(self, name: str) -> Edit | None:
        """Return what the rule wants for a parameter, by its name or an alias; None for nothing."""
        return self.table[self.numbers[self.model.position(name)]]

    def __bool__(self) -> bool:
        """Say whether any parameter gets an edit."""
        return any(self.numbers)

    def __repr__(self) -> str:
        return f"Edits({listing([p.name for p, n in zip(self.model, self.numbers, strict=True) if n], 5)})"


def _does(edit: Any) -> tuple[Any, ...]:
    """Return what an edit does, without its reason."""
    return tuple([getattr(edit, part.name, None) for part in fields(Edit) if part.name != "why"])


def refuse_malformed(edit: Any, path: str) -> None:
    """Raise a RuleError for an edit whose fields are of other types than :class:`Edit` says.

    Args:
        edit: The edit.
        path: The rule's place in the config.
    """
    for name, found in (("set", edit.set), ("scale", edit.scale), ("marks", edit.marks)):
        if found is _NO_OPTIONS:
            continue
        if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
            raise RuleError(f"the rule's Edit has {name}={shown(found)}; it must map options to values", path)
    if not isinstance(edit.freeze, bool) or not isinstance(edit.why, str):
        raise RuleError(f"the rule returned {shown(edit)}; `freeze` must be a truth value, `why` a text", path)
    if not isinstance(edit.group, str):
        raise RuleError(f"the rule's Edit has group={shown(edit.group)}; it must be the name of a group", path)
    if edit.optimizer is not None and not isinstance(edit.optimizer, str):
        raise RuleError(f"the rule's Edit has optimizer={shown(edit.optimizer)}; it must be a registered name", path)
