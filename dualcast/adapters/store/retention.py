"""Retention of the store's rows: forecasts and predictions two years, the audit trail seven years."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Engine, Table, delete, func, select

from dualcast.adapters.store.engine import lift_time_limits, transaction
from dualcast.adapters.store.tables import AuditRow, Base, ForecastRow, PredictionRow

FORECAST_YEARS = 2
AUDIT_YEARS = 7
_RETENTION: tuple[tuple[type[Base], str, int], ...] = (
    (ForecastRow, "issued_at", FORECAST_YEARS),
    (PredictionRow, "at", FORECAST_YEARS),
    (AuditRow, "at", AUDIT_YEARS),
)


def count_expired(engine: Engine, now: datetime) -> dict[str, int]:
    """Count the rows of each table that are older than their retention. Raises StoreUnavailableError."""
    with transaction(engine) as connection:
        lift_time_limits(connection)
        return {
            table.name: connection.execute(select(func.count()).select_from(table).where(old)).scalar_one()
            for table, old in _expired(now)
        }


def delete_expired(engine: Engine, now: datetime) -> dict[str, int]:
    """Delete these rows and return their number by table. Raises StoreUnavailableError."""
    with transaction(engine) as connection:
        lift_time_limits(connection)
        return {table.name: connection.execute(delete(table).where(old)).rowcount for table, old in _expired(now)}


def years_before(moment: datetime, years: int) -> datetime:
    """The same moment some years before; a leap day becomes the last day of February."""
    try:
        return moment.replace(year=moment.year - years)
    except ValueError:
        return moment.replace(year=moment.year - years, day=28)


def _expired(now: datetime) -> list[tuple[Table, ColumnElement[bool]]]:
    found = []
    for row, column, years in _RETENTION:
        table = row.__table__
        assert isinstance(table, Table)
        found.append((table, table.c[column] < years_before(now, years)))
    return found
