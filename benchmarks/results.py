"""One row of a result, and the table of all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, its unit, and its ratio to the peer that was measured in the same run."""

    name: str
    value: float
    unit: str
    ratio: float


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | | ratio to the peer |", "|---|---:|---|---:|"]
    lines += [f"| {r.name} | {r.value:,.0f} | {r.unit} | {r.ratio:.2f} |" for r in rows]
    return "\n".join(lines) + "\n"
