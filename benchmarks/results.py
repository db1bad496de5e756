"""What a benchmark found: measurements, and the targets that they are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

UNITS = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")),
    "B/s": ((1e9, "GB/s"),),
}


@dataclass(frozen=True)
class Row:
    """One figure: the median of several measurements, with its spread.

    Args:
        case: What was worked on, such as a model.
        side: Who did the work.
        median: The median, in ``unit``.
        spread: The distance between the first and the third quartile.
        count: How many measurements.
        unit: ``s``, ``B`` or ``B/s``.
        ratio: This side over ``against``, the median over the rounds in which both ran; None for that side itself.
        against: The side that the ratio is held against.
        facts: What else is worth a column, such as the number of groups.
        best: The least of the measurements, for comparisons that must not see the machine's other work.
    """

    case: str
    side: str
    median: float
    spread: float = 0.0
    count: int = 1
    unit: str = "s"
    ratio: float | None = None
    against: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    best: float = 0.0

    @property
    def text(self) -> str:
        """The figure as people read it.

        >>> Row("a model", "optimbuild", 0.0123, 0.0004).text
        '12.3 ms ± 0.4'
        """
        size, unit = next((pair for pair in UNITS[self.unit] if abs(self.median) >= pair[0]), UNITS[self.unit][-1])
        spread = f" ± {figure(self.spread / size, self.median / size)}" if self.count > 1 else ""
        return f"{figure(self.median / size, self.median / size)} {unit}{spread}"


def by_case(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Return the rows of each case together."""
    cases: dict[str, list[Row]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row)
    return list(cases.items())


@dataclass(frozen=True)
class Target:
    """A promise about a figure.

    Args:
        text: What is promised.
        value: What was measured.
        limit: The bound.
        at_most: Whether the bound is an upper one.
        unit: What value and limit are counted in; empty for a ratio.
    """

    text: str
    value: float
    limit: float
    at_most: bool = True
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the measurement keeps the promise."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit


@dataclass(frozen=True)
class Result:
    """What one benchmark found.

    Args:
        name: Its name.
        about: What was measured, in words.
        rows: The figures.
        targets: The promises.
        notes: What a reader should know about them, such as a side that was left out.
    """

    name: str
    about: str
    rows: Sequence[Row]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        data = asdict(self)
        for target, row in zip(self.targets, data["targets"], strict=True):
            row["met"] = target.met
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Result:
        """Return what :meth:`to_dict` wrote."""
        return cls(
            data["name"],
            data["about"],
            [Row(**row) for row in data["rows"]],
            [Target(**{key: value for key, value in row.items() if key != "met"}) for row in data["targets"]],
            data["notes"],
        )


def figure(value: float, beside: float) -> str:
    """Return a number with as many decimals as three digits of ``beside`` need.

    >>> figure(1234.5, 1234.5), figure(0.0512, 12.3), figure(7.0, 7.0)
    ('1234', '0.1', '7.00')
    """
    decimals = 0 if abs(beside) >= 100 else 1 if abs(beside) >= 10 else 2
    return f"{value:.{decimals}f}"
