"""Entities by the thousand: a CSV file beside the use case, a line for each, and what they share in one place.

Columns are the keys of an entity; a dot leads into a nested one (``holidays.country``), an empty cell leaves a key out.
"""

from __future__ import annotations

import csv
from copy import deepcopy
from pathlib import Path
from typing import Any


def read_entities(table: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The entities that ``{file: ..., shared: {...}}`` stands for, as YAML would have given them.

    Raises ValueError where the table has other keys or the file cannot be read.
    """
    if not set(table) <= {"file", "shared"} or not isinstance(table.get("file"), str):
        raise ValueError("give a list of entities, or 'file' (a CSV beside this file) and what they have 'shared'")
    path = folder / table["file"]
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        return [_entity(line, table.get("shared") or {}, f"{path}:{lines.line_num}") for line in lines]


def _entity(cells: dict[str | Any, str | Any], shared: dict[str, Any], where: str) -> dict[str, Any]:
    if None in cells or None in cells.values():
        raise ValueError(f"{where}: this line has not as many cells as the header")
    entity = deepcopy(shared)
    for column, cell in cells.items():
        if cell.strip():
            *parents, key = column.split(".")
            inner = entity
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[key] = cell.strip()
    return entity
