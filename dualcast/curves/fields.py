"""How a field of a curve is declared: its meaning, and the tables in which it appears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Flag, auto
from typing import Any, get_type_hints

_METADATA = "curve"


class Rows(Flag):
    """The tables with one row for each point that repeat a field in each row."""

    NONE = 0
    EXPORT = auto()  # frames and exported files
    LAKE = auto()  # stored curves; use case and path are partitions there
    API = auto()  # answers as CSV and Parquet
    ALL = EXPORT | LAKE | API


@dataclass(frozen=True)
class _Declared:
    meaning: str
    rows: Rows
    member: str | None
    length: int
    key: bool


@dataclass(frozen=True)
class CurveField:
    """A field of a curve and how it appears.

    type: of the value in Python, from which those of Arrow, Avro, JSON and SQL follow
    rows: the tables of points that hold it
    member: its place in the API's JSON object, outermost member first; empty where it is not a member
    length: the longest text that the SQL column holds
    key: whether it identifies a curve in the store
    default: of curves that were made before the field was added; ``dataclasses.MISSING`` where there is none
    """

    name: str
    type: Any
    meaning: str
    rows: Rows
    member: tuple[str, ...]
    length: int
    key: bool
    default: Any

    @property
    def required(self) -> bool:
        """Whether every curve has it, old ones too."""
        return self.default is MISSING


def described(
    meaning: str, *, rows: Rows = Rows.ALL, member: str | None = None, length: int = 128, key: bool = False
) -> Mapping[str, _Declared]:
    """The ``metadata`` of a dataclass field: see ``CurveField``.

    ``member`` is dotted, the field's name unless given, and "" for a field that is not a member.
    """
    return {_METADATA: _Declared(meaning, rows, member, length, key)}


def declared_fields(record: type) -> tuple[CurveField, ...]:
    """The described fields of a dataclass, in order."""
    types = get_type_hints(record)
    return tuple(
        CurveField(
            name=field.name,
            type=types[field.name],
            meaning=declared.meaning,
            rows=declared.rows,
            member=_member(field.name, declared.member),
            length=declared.length,
            key=declared.key,
            default=field.default,
        )
        for field in fields(record)
        if (declared := field.metadata.get(_METADATA)) is not None
    )


def _member(name: str, declared: str | None) -> tuple[str, ...]:
    return (name,) if declared is None else tuple(filter(None, declared.split(".")))
