"""The log of curves scored on request, for audit: each curve with its feature row, in Parquet.

Published curves and their rows are archived from their topics. Equal rows, models and factors make equal curves, so
that a curve is logged once however often it is requested.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from cachetools import LRUCache
from opentelemetry import metrics

from dualcast.adapters.lake import lake_paths
from dualcast.curves.fields import Rows
from dualcast.curves.forecast import FIELDS, Forecast
from dualcast.records import FeatureRow
from dualcast.settings import Settings
from services.background import Worker
from services.http.formats import to_json
from services.id_svc.scoring.forecaster import OVERRIDDEN

_MAX_PENDING = 10_000
# Numbers in the pending rows and curves: a what-if can replace all features.
_MAX_VALUES = 2_000_000
_MAX_KEYS = 100_000
_EVERY_SECONDS = 30.0
_log = structlog.get_logger(__name__)


class PredictionLog:
    """Writes in the background, so that no request waits. If the lake is unavailable for long, the oldest are lost."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pending: deque[tuple[FeatureRow, Forecast]] = deque()
        self._values = 0
        self._lock = threading.Lock()
        self._logged: LRUCache[bytes, None] = LRUCache(_MAX_KEYS)
        self._worker = Worker("prediction log", self._run)
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.prediction_log", description="curves scored on request, by outcome"
        )

    def start(self) -> None:
        """Start to write."""
        self._worker.start()

    def stop(self) -> None:
        """Write the pending curves and stop."""
        self._worker.stop()

    def add(self, row: FeatureRow, forecast: Forecast) -> None:
        """Log a curve, unless it was logged before. Called by one thread at a time."""
        made = forecast.use_case, forecast.entity_id, forecast.model_version, forecast.data_version
        replaced = any(reason.startswith(OVERRIDDEN) for reason in forecast.degraded_reasons)
        key = _digest(made, forecast.degraded_reasons, row.features if replaced else None)
        if key in self._logged:
            return
        self._logged[key] = None
        with self._lock:
            self._pending.append((row, forecast))
            self._values += _size(row, forecast)
            while len(self._pending) > _MAX_PENDING or self._values > _MAX_VALUES:
                self._values -= _size(*self._pending.popleft())
                self._counter.add(1, {"outcome": "lost"})

    def flush(self) -> None:
        """Write the pending curves, one file for each use case and issue date.

        Raises OSError; the curves then stay pending.
        """
        with self._lock:
            pending, self._pending, values, self._values = list(self._pending), deque(), self._values, 0
        try:
            for folder, kept in groupby(sorted(pending, key=_folder), _folder):
                self._write(folder, list(kept))
        except OSError:
            with self._lock:
                self._pending.extendleft(reversed(pending))
                self._values += values
            raise
        self._counter.add(len(pending), {"outcome": "written"})

    def _write(self, folder: str, kept: list[tuple[FeatureRow, Forecast]]) -> None:
        root = f"{lake_paths(self._settings).predictions}/{folder}"
        filesystem, path = fsspec.core.url_to_fs(root)
        filesystem.makedirs(path, exist_ok=True)
        with filesystem.open(f"{path}/{uuid4().hex}.parquet", "wb") as file:
            pq.write_table(pa.Table.from_pylist(list(_records(kept))), file)

    def _run(self, stop: threading.Event) -> None:
        ended = False
        while not ended:
            ended = stop.wait(_EVERY_SECONDS)
            try:
                self.flush()
            except OSError as error:
                _log.warning("prediction log not written", error=str(error)[:200], pending=len(self._pending))


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def _size(row: FeatureRow, forecast: Forecast) -> int:
    """The count of numbers in a row and its curve."""
    return sum(map(len, row.features.values())) + len(forecast.points) * len(forecast.quantile_levels)


def _folder(kept: tuple[FeatureRow, Forecast]) -> str:
    forecast = kept[1]
    return f"use_case={forecast.use_case}/issue_date={forecast.issued_at:%Y-%m-%d}"


def _records(kept: list[tuple[FeatureRow, Forecast]]) -> Iterator[dict[str, object]]:
    """One row for each curve. Features are JSON, because they differ by use case and version."""
    for row, forecast in kept:
        yield {
            **{field.name: getattr(forecast, field.name) for field in FIELDS if field.rows & Rows.LAKE},
            "features_as_of": row.as_of,
            "origin": row.valid_time,
            "features": to_json(row.features).decode(),
            "quantile_levels": forecast.quantile_levels,
            "valid_time": [point.valid_time for point in forecast.points],
            "values": [point.values for point in forecast.points],
        }
