"""Curves as response bodies: the part that never changes is written once, the ages are added to it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from dualcast.records import Forecast, quantile_column

JSON = "application/json"
CSV = "text/csv"
# A fallback is one of the reasons why a curve is degraded: this is how it is told from the others.
FALLBACK_REASON = "fallback: "


def forecast_body(forecast: Forecast) -> bytes:
    """The JSON of a curve, without what depends on the time of asking. See ``with_fields``."""
    levels = [f"{level:g}" for level in forecast.quantile_levels]
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
            "points": [
                {"valid_time": p.valid_time, "quantiles": dict(zip(levels, p.values, strict=True))}
                for p in forecast.points
            ],
        }
    )


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


def wants_csv(format_: str | None, accept: str | None) -> bool:
    """Whether the asker wants CSV: the parameter decides, and behind it the Accept header."""
    if format_ is not None:
        return format_ == "csv"
    return accept is not None and CSV in accept and JSON not in accept


def csv_response(forecast: Forecast) -> Response:
    """A curve as CSV: valid_time and one column for each quantile; what traces it goes in headers."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["entity_id", "issued_at", "valid_time", *map(quantile_column, forecast.quantile_levels)])
    for point in forecast.points:
        writer.writerow([forecast.entity_id, _iso(forecast.issued_at), _iso(point.valid_time), *point.values])
    headers = {
        "X-Model": f"{forecast.model_name}/{forecast.model_version}",
        "X-Degraded": ";".join(forecast.degraded_reasons).encode("latin-1", "replace").decode("latin-1"),
        "X-Simulated": str(forecast.simulated).lower(),
    }
    return Response(out.getvalue(), headers=headers, media_type=CSV)


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
