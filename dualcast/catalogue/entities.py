"""Entities: the zones, parks or warehouses that series belong to, and their holidays.

A use case lists its entities, or names a CSV file beside it with one line per entity, and the values that all of them
share. Columns are the keys of an entity; a dot separates nested keys (``holidays.country``), an empty cell omits one.
"""

from __future__ import annotations

import csv
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo

from dualcast.catalogue.base import Strict


class HolidayCalendar(Strict):
    """The holidays of an entity and their weights."""

    country: str
    subdivisions: dict[str, float] = Field({}, description="share of the population by subdivision; empty: nationwide")
    special_days: dict[str, float] = Field({}, description="extra days as MM-DD with a holiday weight between 0 and 1")
    kinds: tuple[str, ...] = Field(
        (),
        description="holidays (English names), days (MM-DD) and periods (MM-DD..MM-DD) that models distinguish;"
        " the position in the list is the code in the models' inputs: append only",
    )


class Entity(Strict):
    """What a series belongs to: a bidding zone, a park, a warehouse."""

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    title: str
    time_zone: str
    holidays: HolidayCalendar
    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    simulation: dict[str, float] = Field({}, description="parameters of the simulator, such as mean_load_mw")


def _listed(given: Any, info: ValidationInfo) -> Any:
    """Entities as a list, also where the YAML names a table of them."""
    if isinstance(given, dict):
        return read_entities(given, (info.context or {}).get("folder", Path()))
    return given


Entities = Annotated[tuple[Entity, ...], BeforeValidator(_listed)]


def read_entities(table: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The entities of ``{file: ..., shared: {...}}``, as a list in the YAML file would give them.

    Raises ValueError where the table has other keys or the file cannot be read.
    """
    if not set(table) <= {"file", "shared"} or not isinstance(table.get("file"), str):
        raise ValueError("give a list of entities, or 'file' (a CSV beside this file) and their 'shared' values")
    path = folder / table["file"]
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        return [_entity(line, table.get("shared") or {}, f"{path}:{lines.line_num}") for line in lines]


def _entity(cells: dict[str | Any, str | Any], shared: dict[str, Any], where: str) -> dict[str, Any]:
    if None in cells or None in cells.values():
        raise ValueError(f"{where}: this line has another number of cells than the header")
    entity = deepcopy(shared)
    for column, cell in cells.items():
        if cell.strip():
            *parents, key = column.split(".")
            inner = entity
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[key] = cell.strip()
    return entity
