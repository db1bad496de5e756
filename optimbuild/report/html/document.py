"""The document of a plan, or of two side by side: one HTML file that holds its data, its libraries and its program."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import yaml

from optimbuild.messages import counted, printable
from optimbuild.report.html.data import plan_data
from optimbuild.report.html.libraries import DATATABLES, DATATABLES_STYLE, PLOTLY
from optimbuild.report.html.notebook import group_table
from optimbuild.report.interfaces import PlanView
from optimbuild.report.notation import count_text
from optimbuild.report.option_columns import by_optimizer, optimizer_text

SCRIPTS = ("text", "colours", "tree", "plans", "icicle", "ladder", "rows", "table", "details", "memory", "main")
"""The files of the page's program. They share one scope, so their order does not matter but for reading."""
GENERATOR = "optimbuild report"
"""What the page names as its generator; ``optimbuild report`` replaces no other file."""


def page(plans: Sequence[PlanView], titles: Sequence[str] = (), world_size: int = 1) -> str:
    """Return the page of a plan, or of two side by side.

    Data and libraries are packed (gzip, base64), so that the file is small and the browser's parser sees none of it.
    The page may run its own program only, and reach no network.

    Args:
        plans: One plan or two.
        titles: Their names, such as those of their files.
        world_size: The number of ranks for which memory is shown.

    Raises:
        MissingPackageError: A library is not installed.
        ConfigError: The world size is no whole number from 1.
    """
    names = [printable(title) for title in titles[: len(plans)]]
    names += [""] * (len(plans) - len(names))
    headings = names if len(plans) == 1 else [f"{letter} · {name}" for letter, name in zip("AB", names, strict=True)]
    data = {"plans": [plan_data(plan, name, world_size) for plan, name in zip(plans, names, strict=True)]}
    program = "\n".join(_own(f"{name}.js") for name in SCRIPTS)
    return Template(_own("page.html")).substitute(
        policy=escape(_policy(program)),
        generator=GENERATOR,
        title=escape(_title(plans, names)),
        model=escape(plans[0].inventory.model or "A model without a name"),
        library_style=DATATABLES_STYLE.text(),
        style=_own("page.css"),
        head="".join(map(_head, plans, headings)),
        told=_told(plans, headings),
        config="".join(map(_config, plans, headings)),
        static="".join(group_table(plan) for plan in plans),
        data=_packed(json.dumps(data, allow_nan=False, separators=(",", ":"))),
        plotly=_packed(PLOTLY.text()),
        datatables=_packed(DATATABLES.text()),
        program=program,
    )


def is_report(path: str) -> bool:
    """Say whether a file is a report: a page that says so of itself."""
    with open(path, "rb") as file:
        head = file.read(4096)
    mark = f'<meta name="generator" content="{GENERATOR}">'
    return head.lower().startswith(b"<!doctype html") and mark.encode() in head


def _own(name: str) -> str:
    return (files("optimbuild.report.html") / "files" / name).read_text("utf-8")


def _packed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _policy(program: str) -> str:
    """Return the page's Content Security Policy: its own program, what that unpacks, and no network at all.

    Styles are free, because the libraries write them; without a network they cannot leak anything.
    """
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' blob:; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _title(plans: Sequence[PlanView], names: Sequence[str]) -> str:
    model = plans[0].inventory.model or "model"
    return f"{model}: {' and '.join(filter(None, names)) or 'plan'}"


def _head(plan: PlanView, name: str) -> str:
    """Return the facts of a plan that stand at the top of its page."""
    params, frozen = plan.inventory.params, frozenset(plan.frozen)
    optimizers = [optimizer_text(name, groups) for name, groups in by_optimizer(plan.groups).items()]
    facts = {
        "parameters": count_text(sum(param.numel for param in params)),
        "tensors": f"{len(params):,}",
        "frozen": f"{count_text(sum(p.numel for p in params if p.name in frozen))} in {counted(len(frozen), 'tensor')}",
        "groups": f"{len(plan.groups):,}",
        "optimizer": " | ".join(optimizers),
        "fingerprint": plan.fingerprint[:12],
    }
    rows = [(key, text) for key, text in facts.items() if key != "frozen" or frozen]
    cells = "".join(f"<div><dt>{key}</dt><dd>{escape(text)}</dd></div>" for key, text in rows)
    heading = f"<h2>{escape(name)}</h2>" if name else ""
    return f'<section class="plan" aria-label="Plan {escape(name)}">{heading}<dl class="facts">{cells}</dl></section>'


def _told(plans: Sequence[PlanView], titles: Sequence[str]) -> str:
    """Return what plans warn and note; of two plans what both say, then what only one says."""
    found = [(plan.warnings, [*plan.notes, *_kept(plan)]) for plan in plans]
    if len(found) == 1:
        return _remarks("", *found[0])
    (warned, noted), (other_warned, other_noted) = found
    both = _remarks(" of both", _in(warned, other_warned), _in(noted, other_noted))
    first = _remarks(f" of {titles[0]}", _in(warned, other_warned, False), _in(noted, other_noted, False))
    second = _remarks(f" of {titles[1]}", _in(other_warned, warned, False), _in(other_noted, noted, False))
    return both + first + second


def _in(texts: Sequence[str], others: Sequence[str], wanted: bool = True) -> list[str]:
    return [text for text in texts if (text in others) is wanted]


def _kept(plan: PlanView) -> list[str]:
    return [f"the running statistics of {module or 'the model'} are kept" for module in plan.kept_statistics]


def _remarks(of: str, warned: Sequence[str], noted: Sequence[str]) -> str:
    of, warnings, notes = escape(of), _items(warned), _items(noted)
    shown = f'<section class="warnings"><h2>Warnings{of}</h2><ul>{warnings}</ul></section>' if warnings else ""
    return shown + (f'<details class="notes"><summary>Notes{of}</summary><ul>{notes}</ul></details>' if notes else "")


def _config(plan: PlanView, name: str) -> str:
    heading = f"<h3>{escape(name)}</h3>" if name else ""
    text = yaml.safe_dump(plan.spec.to_dict(), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    return (
        f'<div>{heading}<pre tabindex="0" role="region" aria-label="Config {escape(name)}">{escape(text)}</pre></div>'
    )


def _items(texts: Sequence[str]) -> str:
    return "".join(f"<li>{escape(printable(text))}</li>" for text in texts)
