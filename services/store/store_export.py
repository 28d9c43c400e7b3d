"""Exports the stored curves to a file or to a table of another PostgreSQL database, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Column, Double, Engine, MetaData, Table, make_url
from sqlalchemy.dialects.postgresql import insert

from dualcast.adapters.store.engine import driver_errors_translated, open_url, transaction
from dualcast.adapters.store.forecasts import Span, read_curves, read_levels
from dualcast.adapters.store.tables import CURVE_FIELDS, Moment, curve_column
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame

_BATCH = 500
_OTHER_FIELDS = ("unit", "model_name")
# One row for each point and quantile: the same columns whatever quantiles a use case has.
_POINTS = Table(
    "forecast_points",
    MetaData(),
    *(curve_column(name, key=True) for name, field in CURVE_FIELDS.items() if field.key),
    Column("valid_time", Moment, primary_key=True),
    Column("quantile", Double, primary_key=True),
    Column("value", Double, nullable=False),
    *map(curve_column, _OTHER_FIELDS),
)


def export(engine: Engine, span: Span, target: str) -> int:
    """Write the curves of a span to ``target`` and return their number.

    A name that ends in .parquet or .csv is a file with one row for each point and a column for each quantile level that
    any of the curves has, empty where a curve lacks it; the file appears when it is complete. A postgresql:// URL is a
    database, to whose table ``forecast_points`` missing points are added. Raises ValueError for another target, or if
    a curve with another level is stored during the export, and StoreUnavailableError.
    """
    batches = _batches(read_curves(engine, span))
    if target.startswith("postgresql:"):
        return _to_postgres(batches, target)
    file = Path(target)
    writers = {".csv": _to_csv, ".parquet": _to_parquet}
    if file.suffix not in writers:
        raise ValueError(f"{target}: a file's name ends in .parquet or .csv, a database begins with postgresql://")
    file.parent.mkdir(parents=True, exist_ok=True)
    levels = read_levels(engine, span)
    return _write_atomically(file, lambda draft: writers[file.suffix](batches, levels, draft))


def _write_atomically(file: Path, write: Callable[[Path], int]) -> int:
    draft = file.with_name(f".{file.name}.draft")
    try:
        count = write(draft)
        if count:
            draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _to_csv(batches: Iterable[list[Forecast]], levels: Sequence[float], file: Path) -> int:
    count = 0
    with file.open("w", newline="") as out:
        for batch in batches:
            forecast_frame(batch, levels).to_csv(out, header=not count, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
            count += len(batch)
    return count


def _to_parquet(batches: Iterable[list[Forecast]], levels: Sequence[float], file: Path) -> int:
    count = 0
    writer: pq.ParquetWriter | None = None
    with ExitStack() as stack:
        for batch in batches:
            table = pa.Table.from_pandas(forecast_frame(batch, levels), preserve_index=False)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(file, table.schema))
            writer.write_table(table)
            count += len(batch)
    return count


def _to_postgres(batches: Iterable[list[Forecast]], target: str) -> int:
    engine, count = open_url(make_url(target)), 0
    try:
        with driver_errors_translated(engine):
            _POINTS.create(engine, checkfirst=True)
        for batch in batches:
            with transaction(engine) as connection:
                rows = [row for forecast in batch for row in _rows(forecast)]
                connection.execute(insert(_POINTS).on_conflict_do_nothing(), rows)
            count += len(batch)
    finally:
        engine.dispose()
    return count


def _rows(forecast: Forecast) -> Iterator[dict[str, object]]:
    same = {name: getattr(forecast, name) for name, field in CURVE_FIELDS.items() if field.key or name in _OTHER_FIELDS}
    for point in forecast.points:
        for level, value in zip(forecast.quantile_levels, point.values, strict=True):
            yield same | {"valid_time": point.valid_time, "quantile": level, "value": value}


def _batches(forecasts: Iterator[Forecast]) -> Iterator[list[Forecast]]:
    while batch := list(islice(forecasts, _BATCH)):
        yield batch
