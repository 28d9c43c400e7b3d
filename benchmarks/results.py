"""One row of a result, and the table of all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A figure, its unit, and its ratio to the baseline measured in the same run, or to a target."""

    name: str
    value: float
    unit: str
    ratio: float


def table(rows: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | | ratio to baseline or target |", "|---|---:|---|---:|"]
    lines += [f"| {r.name} | {r.value:,.0f} | {r.unit} | {r.ratio:.2f} |" for r in rows]
    return "\n".join(lines) + "\n"


def replace_section(page: str, name: str, text: str) -> str:
    """The page of results with one section replaced, or added at the end."""
    head, *sections = re.split(r"^## ", page, flags=re.MULTILINE)
    kept = {section.split("\n", 1)[0]: section.split("\n", 1)[1].strip() for section in sections}
    kept[name] = text.strip()
    return head.rstrip() + "".join(f"\n\n## {title}\n\n{body}" for title, body in kept.items()) + "\n"
