"""The explanation of a parameter as text."""

from __future__ import annotations

from optimbuild.model.param_info import ParamInfo
from optimbuild.registry import RULES
from optimbuild.report.interfaces import PlanView
from optimbuild.report.notation import option_text, shape_text
from optimbuild.report.option_columns import setting_text
from optimbuild.report.table import Line, labelled, text_of


def explain_text(plan: PlanView, name: str) -> str:
    """Return every step that led to a parameter's setting, and the file and line of each rule.

    Args:
        plan: The plan.
        name: The parameter's name, or an alias.

    Raises:
        ModelError: No parameter has this name.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory((ParamInfo("fc.weight", (4, 4)), ParamInfo("fc.bias", (4,))))
    >>> plan = make_plan({"optimizer": {"type": "sgd", "lr": 0.1, "weight_decay": 0.01},
    ...                   "rules": [{"type": "no_decay"}]}, model)
    >>> print(explain_text(plan, "fc.bias"))
    fc.bias
      shape     4, float32
      start     sgd: lr 0.1, momentum 0.9, dampening 0.0, weight_decay 0.01, nesterov true
      no_decay  weight_decay 0.01 → 0.0
                why: bias
                rule 1 of 1, .../rules/no_decay.py:...
      end       sgd: lr 0.1, momentum 0.9, dampening 0.0, weight_decay 0.0, nesterov true
                group 1 (of 0 to 1)
    """
    return text_of(explain_lines(plan, name))


def explain_lines(plan: PlanView, name: str) -> list[Line]:
    """Return the lines of :func:`explain_text`."""
    decision, steps = plan[name], plan.explain(name)
    param = decision.param
    kind, base = plan.base
    pairs = [
        ("shape", ", ".join([shape_text(param.shape), param.dtype, *[f"owned by {param.owner}"] * bool(param.owner)])),
        *[("kinds", ", ".join(_kind_texts(param)))] * bool(param.kinds),
        *[("marks", ", ".join(f"{mark}: {option_text(found)}" for mark, found in param.marks.items()))]
        * bool(param.marks),
        *[("aliases", ", ".join(param.aliases))] * bool(param.aliases),
        ("start", setting_text(kind.name, base if param.trainable else None)),
    ]
    for step in steps:
        changes = [f"{key} {option_text(step.before.get(key))} → {option_text(v)}" for key, v in step.after.items()]
        pairs.append((step.rule, ", ".join(changes)))
        pairs.append(("", f"why: {step.why or 'the rule does not say'}"))
        pairs.append(("", f"rule {step.position + 1} of {len(plan.spec.rules)}, {RULES.origin(step.rule)}"))
    pairs.append(("end", setting_text(decision.optimizer, decision.options)))
    module = param.name.rpartition(".")[0]
    if module in plan.kept_statistics:
        pairs.append(("", f"the running statistics of {module or 'the model'} are kept: it stays in eval mode"))
    if decision.group is not None:
        pairs.append(("", f"group {decision.group} ({_others(len(plan.groups))})"))
    return [(param.name, "bold"), *((f"  {text}", style) for text, style in labelled(pairs, None))]


def _others(count: int) -> str:
    return "the only one" if count == 1 else f"of 0 to {count - 1}"


def _kind_texts(param: ParamInfo) -> list[str]:
    """Return the kinds, with what speaks for one that is not certain."""
    evidence = param.evidence
    return [f"{kind} ({evidence[kind]})" if kind in evidence else kind for kind in sorted(param.kinds)]
