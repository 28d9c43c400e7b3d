"""Formats of response bodies: their media types, content negotiation, and JSON, CSV and Parquet writers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
Format = Literal["json", "csv", "parquet"]
MEDIA_TYPES: dict[Format, str] = {"json": JSON, "csv": CSV, "parquet": PARQUET}


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
    """JSON with times in ISO 8601 and UTC, and NaN as null."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def with_fields(body: bytes, fields: Mapping[str, Any]) -> bytes:
    """A JSON object with additional members.

    >>> with_fields(b'{"a":1}', {"b": None})
    b'{"a":1,"b":null}'
    """
    return body[:-1] + b"," + to_json(fields)[1:]


def wanted_format(format_: Format | None, accept: str | None) -> Format:
    """The requested format: by the parameter, else by the Accept header, else JSON.

    >>> wanted_format(None, "text/csv;q=0.5, application/vnd.apache.parquet")
    'parquet'
    """
    if format_ is not None:
        return format_
    if accept is None or accept == "*/*":
        return "json"
    offered = {media_type: name for name, media_type in MEDIA_TYPES.items()} | {"*/*": "json", "application/*": "json"}
    accepted = [(quality, name) for name, quality in _accepted(accept) if name in offered and quality > 0]
    best = max((quality for quality, _ in accepted), default=0.0)
    return next((offered[name] for quality, name in accepted if quality == best), "json")


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
