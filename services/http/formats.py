"""Curves as response bodies: JSON, CSV or Parquet, of the whole curve or of what was asked of it."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dualcast.curves.forecast import Forecast, Point
from dualcast.curves.quantiles import quantile_column

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
Format = Literal["json", "csv", "parquet"]
MEDIA_TYPES: dict[Format, str] = {"json": JSON, "csv": CSV, "parquet": PARQUET}
# A fallback is one of the reasons why a curve is degraded: this is how it is told from the others.
FALLBACK_REASON = "fallback: "
_MEDIAN = 0.5


@dataclass(frozen=True, slots=True)
class Shape:
    """How a curve is answered: in which format, how many of its first points, with all quantiles or the median."""

    format: Format = "json"
    points: int | None = None
    confidence: bool = True


WHOLE = Shape()


class Encoded:
    """The bodies of one curve that does not change any more: each is written once, when it is first asked for."""

    def __init__(self, forecast: Forecast) -> None:
        self._forecast = forecast
        self._bodies: dict[Shape, bytes] = {}

    @cached_property
    def tag(self) -> str:
        """What tells this curve from every other."""
        return hashlib.blake2b(self.body(WHOLE), digest_size=8).hexdigest()

    def body(self, shape: Shape) -> bytes:
        """JSON without what depends on the time of asking (see ``with_fields``), CSV or Parquet."""
        found = self._bodies.get(shape)
        if found is not None:
            return found
        if shape.points is not None and shape.points >= len(self._forecast.points):
            return self.body(replace(shape, points=None))
        return self._bodies.setdefault(shape, encode([cut(self._forecast, shape)], shape.format))


def cut(forecast: Forecast, shape: Shape) -> Forecast:
    """What was asked of a curve: its first points, or its median alone."""
    points, levels = forecast.points[: shape.points], forecast.quantile_levels
    if not shape.confidence:
        middle = levels.index(_MEDIAN)
        points, levels = [Point(p.valid_time, [p.values[middle]]) for p in points], [_MEDIAN]
    return replace(forecast, points=points, quantile_levels=levels)


def encode(forecasts: Sequence[Forecast], format_: Format) -> bytes:
    """One curve as JSON, or any number of them as one table."""
    if format_ == "json":
        (forecast,) = forecasts
        return forecast_body(forecast)
    return table_body(columns_of(forecasts), format_)


def forecast_body(forecast: Forecast, actuals: Mapping[datetime, float] | None = None, **more: Any) -> bytes:
    """The JSON of a curve; ``actuals`` adds to each point what came true, ``more`` adds members."""
    levels = [f"{level:g}" for level in forecast.quantile_levels]
    points: list[dict[str, Any]] = [
        {"valid_time": p.valid_time, "quantiles": dict(zip(levels, p.values, strict=True))} for p in forecast.points
    ]
    if actuals is not None:
        points = [point | {"actual": actuals.get(point["valid_time"])} for point in points]
    return to_json(
        {
            "use_case": forecast.use_case,
            "path": forecast.path,
            "entity_id": forecast.entity_id,
            "issued_at": forecast.issued_at,
            "target": forecast.target,
            "unit": forecast.unit,
            "resolution": forecast.resolution,
            "model": {"name": forecast.model_name, "version": forecast.model_version},
            "code_version": forecast.code_version,
            "data_version": forecast.data_version,
            "newest_input_at": forecast.newest_input_at,
            "degraded": forecast.degraded,
            "degraded_reasons": forecast.degraded_reasons,
            "simulated": forecast.simulated,
            "points": points,
            **more,
        }
    )


def columns_of(
    forecasts: Sequence[Forecast], actuals: Mapping[tuple[str, datetime], float] | None = None
) -> dict[str, list[Any]]:
    """Curves as the columns of one table, a row for each point; a level that a curve lacks is None."""
    points = [(f, p) for f in forecasts for p in f.points]
    columns: dict[str, list[Any]] = {
        "entity_id": [f.entity_id for f, _ in points],
        "issued_at": [f.issued_at for f, _ in points],
        "valid_time": [p.valid_time for _, p in points],
    }
    for level in sorted({level for f in forecasts for level in f.quantile_levels}):
        columns[quantile_column(level)] = [
            p.values[f.quantile_levels.index(level)] if level in f.quantile_levels else None for f, p in points
        ]
    if actuals is not None:
        columns["actual"] = [actuals.get((f.entity_id, p.valid_time)) for f, p in points]
    columns["model_version"] = [f.model_version for f, _ in points]
    columns["degraded_reasons"] = [";".join(f.degraded_reasons) for f, _ in points]
    columns["simulated"] = [f.simulated for f, _ in points]
    return columns


def table_body(columns: Mapping[str, list[Any]], format_: Format) -> bytes:
    """Columns of equal length as CSV or Parquet."""
    if format_ == "parquet":
        file = io.BytesIO()
        pq.write_table(pa.table(dict(columns)), file)
        return file.getvalue()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_texts, zip(*columns.values(), strict=True)))
    return out.getvalue().encode()


def to_json(value: Any) -> bytes:
    """JSON with times as ISO 8601 in UTC, NaN as null."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def with_fields(body: bytes, fields: Mapping[str, Any]) -> bytes:
    """A JSON object with more members.

    >>> with_fields(b'{"a":1}', {"b": None})
    b'{"a":1,"b":null}'
    """
    return body[:-1] + b"," + to_json(fields)[1:]


def fallback_of(forecast: Forecast) -> str | None:
    """The fallback that a published curve names among its reasons, if any."""
    for reason in forecast.degraded_reasons:
        if reason.startswith(FALLBACK_REASON):
            return reason.removeprefix(FALLBACK_REASON)
    return None


def age_seconds(moment: datetime, now: datetime) -> float:
    """How old something is; never negative."""
    return max(round((now - moment).total_seconds(), 3), 0.0)


def wanted_format(format_: Format | None, accept: str | None) -> Format:
    """The format that the asker wants: the parameter decides, and behind it the Accept header; else JSON.

    >>> wanted_format(None, "text/csv;q=0.5, application/vnd.apache.parquet")
    'parquet'
    """
    if format_ is not None:
        return format_
    if accept is None or accept == "*/*":
        return "json"
    offered = {media_type: name for name, media_type in MEDIA_TYPES.items()} | {"*/*": "json", "application/*": "json"}
    liked = [(quality, name) for name, quality in _accepted(accept) if name in offered and quality > 0]
    best = max((quality for quality, _ in liked), default=0.0)
    return next((offered[name] for quality, name in liked if quality == best), "json")


def _accepted(accept: str) -> Iterable[tuple[str, float]]:
    """The media types of an Accept header with their qualities."""
    for part in accept.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        try:
            yield name, float(quality)
        except ValueError:
            continue


def _texts(row: Iterable[Any]) -> list[Any]:
    return [value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value for value in row]
