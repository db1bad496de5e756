"""The explanation of parameters as text: of one by its name, or of many by their module or a pattern."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from optimbuild.messages import counted
from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import RULES
from optimbuild.report.calculation import calculations, value_text
from optimbuild.report.explain_blocks import Block, merged, selected
from optimbuild.report.interfaces import PlanView
from optimbuild.report.name_patterns import NamePatterns
from optimbuild.report.notation import option_text, plain_text, shape_text
from optimbuild.report.option_columns import options_text
from optimbuild.report.table import WIDTH, Line, broken, labelled, text_of

OWN_LINE = ("lr", "weight_decay")
"""The options that always have a line."""
ROOM = 14
"""The room for the number of tensors behind a pattern."""


def explain_text(plan: PlanView, name: str, *, places: Sequence[str] = (), width: int | None = None) -> str:
    """Return how the settings of parameters came about: as a calculation, with the place of each rule.

    Args:
        plan: The plan.
        name: The name of a parameter, an alias, a module, or a pattern. Of several parameters those with equal steps,
            and those whose steps differ by the layer only, are explained together.
        places: The place of each rule in the config, such as ``config.yaml:4``.
        width: The width to fill, in characters; by default lines are not wrapped.

    Raises:
        ModelError: No parameter has this name, is in such a module, or matches.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.01},
    ...                   "rules": [{"type": "no_decay"}]}, model)
    >>> print(explain_text(plan, "fc.bias"))
    fc.bias
      shape         4, float32
      optimizer     sgd: momentum 0.9, dampening 0.0, nesterov true
      lr            0.1
      weight_decay  0.01 → 0 (no_decay: bias)
      in group      1 (of 0 to 1)
      no_decay      rule 1 of 1, .../rules/no_decay.py:...
    """
    return text_of(explain_lines(plan, name, places=places, width=width))


def explain_lines(
    plan: PlanView, name: str, *, places: Sequence[str] = (), width: int | None = None, unicode: bool = True
) -> list[Line]:
    """Return the lines of :func:`explain_text`."""
    positions = selected(plan, name)
    names = NamePatterns.of(plan.inventory)
    blocks = merged(plan, names, positions)
    if name in plan.inventory:
        (block,) = blocks
        title = plan.inventory.params[positions[0]].name
        lines = _title(title, width) + _indented([*_pairs(plan, block, True), *_rules(plan, blocks, places)], width)
    else:
        title = f"{name}: {counted(len(positions), 'tensor')}, {counted(len(blocks), 'trace')}"
        lines = [*_title(title, width), ("", "")]
        for block in blocks:
            pattern = names.covered([plan.inventory.params[position].name for position in block.positions])
            told = f"{pattern.text((width or WIDTH) - ROOM)}  {counted(len(block.positions), 'tensor')}"
            lines += [*_title(told, width), *_indented(list(_pairs(plan, block, False)), width), ("", "")]
        lines += _indented(_rules(plan, blocks, places), width)
        lines = lines[:-1] if lines[-1] == ("", "") else lines
    return lines if unicode else [(plain_text(text), style) for text, style in lines]


def _title(text: str, width: int | None) -> list[Line]:
    return [(piece, "bold") for piece in (broken(text, width) if width else [text])]


def _indented(pairs: Sequence[tuple[str, str]], width: int | None) -> list[Line]:
    lines = labelled(pairs, None if width is None else width - 2) if pairs else []
    return [(f"  {text}", style) for text, style in lines]


def _pairs(plan: PlanView, block: Block, single: bool) -> Iterator[tuple[str, str]]:
    """Yield the labels and texts of parameters with one outline."""
    param = plan.inventory.params[block.positions[0]]
    if single:
        yield from _facts(param)
    decision = plan[param.name]
    done = calculations(block.ends())
    if decision.options is None:
        yield from done.items() if param.trainable else [("frozen", "by the model itself, before any rule")]
    else:
        others = {key: value for key, value in decision.options.items() if key not in (*OWN_LINE, *done)}
        told = options_text(str(decision.optimizer), others)
        yield "optimizer", done.pop("optimizer", str(decision.optimizer)) + (f": {told}" if told else "")
        fixed = {key: value_text(decision.options[key]) for key in OWN_LINE if key in decision.options}
        yield from {**fixed, **done}.items()
    module = param.name.rpartition(".")[0]
    if single and module in plan.kept_statistics:
        yield "statistics", f"those of {module or 'the model'} are kept: it stays in eval mode"
    if decision.options is not None and len(block.groups) > 1:
        yield "groups", f"{len(block.groups)}, one per layer"
    elif decision.options is not None:
        yield "in group", f"{decision.group} ({_others(len(plan.groups))})"


def _facts(param: ParamInfo) -> Iterator[tuple[str, str]]:
    """Yield what a parameter is."""
    yield "shape", ", ".join([shape_text(param.shape), param.dtype, *[f"owned by {param.owner}"] * bool(param.owner)])
    if param.kinds:
        yield "kinds", ", ".join(_kind_texts(param))
    if param.marks:
        yield "marks", ", ".join(f"{mark}: {option_text(found)}" for mark, found in param.marks.items())
    if param.aliases:
        yield "aliases", ", ".join(param.aliases)


def _rules(plan: PlanView, blocks: Sequence[Block], places: Sequence[str]) -> list[tuple[str, str]]:
    """Return for each rule that did something its place in the config, and that of its code."""
    rules = {step.position: step.rule for block in blocks for step in block.ends()[0]}
    found = []
    for i, rule in sorted(rules.items()):
        where = [f"rule {i + 1} of {len(plan.spec.rules)}", *places[i : i + 1], str(RULES.origin(rule))]
        found.append((rule, ", ".join(filter(None, where))))
    return found


def _others(count: int) -> str:
    return "the only one" if count == 1 else f"of 0 to {count - 1}"


def _kind_texts(param: ParamInfo) -> list[str]:
    """Return the kinds, with what speaks for one that is not certain."""
    evidence = param.evidence
    return [f"{kind} ({evidence[kind]})" if kind in evidence else kind for kind in sorted(param.kinds)]
