"""How long the store keeps what it holds: forecasts and answers for two years, the audit trail for seven."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Engine, Table, delete, func, select

from dualcast.adapters.store.engine import lift_time_limits, transaction
from dualcast.adapters.store.tables import AuditRow, Base, ForecastRow, PredictionRow

FORECAST_YEARS = 2
AUDIT_YEARS = 7
_KEPT: tuple[tuple[type[Base], str, int], ...] = (
    (ForecastRow, "issued_at", FORECAST_YEARS),
    (PredictionRow, "at", FORECAST_YEARS),
    (AuditRow, "at", AUDIT_YEARS),
)


def count_expired(engine: Engine, now: datetime) -> dict[str, int]:
    """How many rows of each table are too old. Raises StoreUnavailableError."""
    with transaction(engine) as connection:
        lift_time_limits(connection)
        return {
            table.name: connection.execute(select(func.count()).select_from(table).where(old)).scalar_one()
            for table, old in _old(now)
        }


def delete_expired(engine: Engine, now: datetime) -> dict[str, int]:
    """Delete what is too old, and count it by table. Raises StoreUnavailableError."""
    with transaction(engine) as connection:
        lift_time_limits(connection)
        return {table.name: connection.execute(delete(table).where(old)).rowcount for table, old in _old(now)}


def years_before(moment: datetime, years: int) -> datetime:
    """The same moment some years before; a leap day becomes the last day of February."""
    try:
        return moment.replace(year=moment.year - years)
    except ValueError:
        return moment.replace(year=moment.year - years, day=28)


def _old(now: datetime) -> list[tuple[Table, ColumnElement[bool]]]:
    found = []
    for row, column, years in _KEPT:
        table = row.__table__
        assert isinstance(table, Table)
        found.append((table, table.c[column] < years_before(now, years)))
    return found
