"""Published curves in the store. Each is written once and read as it was published.

The store is the complete record of what was published, delayed by the recorder that writes it. The services read it
after their memory and Redis.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Engine, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row

from dualcast.adapters.store.engine import lift_time_limits, limit_statement_time, transaction
from dualcast.adapters.store.tables import ForecastRow
from dualcast.catalogue import Path_, path_identifier, path_of
from dualcast.curves.forecast import FIELD_NAMES, Forecast, Point, field_values
from dualcast.curves.quantiles import union_of_levels

_BATCH = 500


@dataclass(frozen=True)
class Span:
    """The curves of one path of a use case that were issued in [start, end)."""

    use_case: str
    path: Path_
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class IssueDay:
    """All curves of one path and entity that were issued on one UTC day: the unit of reading and caching."""

    use_case: str
    path: Path_
    entity_id: str
    day: date

    @classmethod
    def of(cls, forecast: Forecast) -> Self:
        """The issue day of a curve."""
        return cls(
            forecast.use_case, path_of(forecast.path), forecast.entity_id, forecast.issued_at.astimezone(UTC).date()
        )


def save(engine: Engine, forecasts: Sequence[Forecast], now: datetime) -> int:
    """Store curves in one transaction and return how many were new. A curve that is stored already is not changed.

    Raises StoreUnavailableError, and sqlalchemy.exc.DBAPIError where the store refuses a value.
    """
    if not forecasts:
        return 0
    insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    # The new rows are returned, because the drivers do not count them reliably.
    statement = insert(ForecastRow).on_conflict_do_nothing().returning(ForecastRow.__table__.c.issued_at)
    with transaction(engine) as connection:
        return len(connection.execute(statement, [_row(forecast, now) for forecast in forecasts]).all())


def read_curves(engine: Engine, span: Span) -> Iterator[Forecast]:
    """Curves by time of issue, read in batches. Raises StoreUnavailableError."""
    table = ForecastRow.__table__
    ordered = select(table).where(_within(span)).order_by(table.c.issued_at, table.c.entity_id, table.c.model_version)
    with transaction(engine) as connection:
        for row in connection.execute(ordered.execution_options(yield_per=_BATCH)):
            yield _forecast(row)


def read_levels(engine: Engine, span: Span) -> list[float]:
    """The quantile levels that any of the curves has, rising. Raises StoreUnavailableError."""
    levels = ForecastRow.__table__.c.quantile_levels
    with transaction(engine) as connection:
        lift_time_limits(connection)
        return union_of_levels(connection.execute(select(levels).where(_within(span)).distinct()).scalars())


def read_days(engine: Engine, days: Collection[IssueDay], seconds: int) -> dict[IssueDay, list[Forecast]]:
    """The curves of each day by time of issue; an empty list for a day without curves.

    Raises StoreUnavailableError, on PostgreSQL also where a statement takes longer than ``seconds``.
    """
    series: dict[tuple[str, Path_, str], list[date]] = {}
    for day in days:
        series.setdefault((day.use_case, day.path, day.entity_id), []).append(day.day)
    table = ForecastRow.__table__
    ranges = or_(*(_issued_between(*wanted) for wanted in series.items()))
    found: dict[IssueDay, list[Forecast]] = {day: [] for day in days}
    with transaction(engine) as connection:
        limit_statement_time(connection, seconds)
        for row in connection.execute(select(table).where(ranges).order_by(table.c.issued_at, table.c.recorded_at)):
            forecast = _forecast(row)
            found.get(IssueDay.of(forecast), []).append(forecast)
    return found


def _within(span: Span) -> ColumnElement[bool]:
    table = ForecastRow.__table__
    conditions = [table.c.use_case == span.use_case, table.c.path == path_identifier(span.path)]
    if span.start is not None:
        conditions.append(table.c.issued_at >= span.start)
    if span.end is not None:
        conditions.append(table.c.issued_at < span.end)
    return and_(*conditions)


def _issued_between(series: tuple[str, Path_, str], days: Collection[date]) -> ColumnElement[bool]:
    """One range of the table's key. Reading the days in between costs less than a condition for each day."""
    use_case, path, entity_id = series
    table = ForecastRow.__table__
    first, last = (datetime.combine(day, time(0), UTC) for day in (min(days), max(days)))
    return and_(
        table.c.use_case == use_case,
        table.c.path == path_identifier(path),
        table.c.entity_id == entity_id,
        table.c.issued_at >= first,
        table.c.issued_at < last + timedelta(days=1),
    )


def points_json(forecast: Forecast) -> dict[str, Any]:
    """The points of a curve as JSON for the store. NaN and infinite values become null."""
    return {
        "valid_time": [point.valid_time.isoformat() for point in forecast.points],
        "values": [[v if math.isfinite(v) else None for v in point.values] for point in forecast.points],
    }


def _row(forecast: Forecast, now: datetime) -> dict[str, Any]:
    fields = dict(zip(FIELD_NAMES, field_values(forecast), strict=True))
    return fields | {"points": points_json(forecast), "recorded_at": now}


def _forecast(row: Row[Any]) -> Forecast:
    times, values = row.points["valid_time"], row.points["values"]
    points = [
        Point(datetime.fromisoformat(time), [math.nan if v is None else v for v in levels])
        for time, levels in zip(times, values, strict=True)
    ]
    return Forecast(**{name: getattr(row, name) for name in FIELD_NAMES}, points=points)
