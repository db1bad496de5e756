"""A plan in few lines that people read in the difference of two versions of a file; numbers are exact."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import chain

from optimbuild.messages import counted, listing
from optimbuild.plan.decision import Group
from optimbuild.plan.plan import Plan
from optimbuild.report.folding import folded
from optimbuild.report.name_patterns import NamePatterns
from optimbuild.report.notation import option_text
from optimbuild.report.option_columns import by_optimizer, options_text, shared_options

LONGEST = 2000
"""The room for the pattern of a row, in characters; what does not fit is counted."""


def summary(plan: Plan) -> list[str]:
    r"""Return a plan in a few lines: what all groups share, and two lines for each row of the folded table.

    Args:
        plan: The plan.

    >>> from optimbuild import Inventory, ParamInfo, make_plan
    >>> model = Inventory([ParamInfo(f"blocks.{i}.{leaf}", (4,)) for i in range(3) for leaf in ("weight", "bias")])
    >>> rules = [{"type": "layer_decay", "ratio": 0.5}, {"type": "freeze", "patterns": ["**.bias"]}]
    >>> plan = make_plan({"optimizer": {"type": "adamw", "lr": 0.1, "weight_decay": 0}, "rules": rules}, model)
    >>> print("\n".join(summary(plan)))
    adamw: betas [0.9, 0.999], eps 1e-08
    blocks.{0..2}.weight
      lr 0.025 … 0.1 (× 0.5 per layer), weight_decay 0.0; 3 tensors, 12 elements
    blocks.{0..2}.bias
      frozen; 3 tensors, 12 elements
    """
    return [*_optimizers(plan), *chain.from_iterable(_rows(plan)), *_kept(plan.kept_statistics)]


def _optimizers(plan: Plan) -> Iterator[str]:
    for name, groups in by_optimizer(plan.groups).items():
        shared = options_text(name, shared_options(groups))
        yield f"{name}: {shared}" if shared else name


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    names, optimizers = NamePatterns.of(plan.inventory), by_optimizer(plan.groups)
    shared = {name: shared_options(groups).keys() for name, groups in optimizers.items()}
    for row in folded(plan.groups, names.families, True, plan.frozen):
        text = row.covered(names.families).text(LONGEST) if row.positions else "no parameter"
        sizes = [plan.inventory.sizes[position] for position in row.positions]
        if not row.groups:
            yield text, _row("frozen", sizes)
            continue
        first, last = plan.groups[row.groups[0]], plan.groups[row.groups[-1]]
        settings = [first.optimizer] if len(optimizers) > 1 else []
        settings += [f"group {' … '.join(dict.fromkeys([first.name, last.name]))}"] if first.name else []
        settings += _options(first, last, row.ratio, shared[first.optimizer])
        yield text, _row(", ".join(settings), sizes)


def _row(settings: str, sizes: Sequence[int]) -> str:
    return f"  {settings}; {counted(len(sizes), 'tensor')}, {counted(sum(sizes), 'element')}"


def _options(first: Group, last: Group, ratio: float | None, shared: Collection[str]) -> list[str]:
    """Return the options of a row that not all groups of its optimizer share, from its first to its last layer."""
    own = [key for key in first.options if key not in shared]
    ends = [dict.fromkeys([option_text(group.options.get(key)) for group in (first, last)]) for key in own]
    factor = {"lr": f" (× {ratio:.4g} per layer)"} if ratio else {}
    return [f"{key} {' … '.join(texts)}{factor.get(key, '')}" for key, texts in zip(own, ends, strict=True)]


def _kept(modules: Sequence[str]) -> list[str]:
    return [f"running statistics kept: {listing(modules)}"] if modules else []
