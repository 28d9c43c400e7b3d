"""What was forecast on request, kept for audit: each curve with the feature row that it was made of, in Parquet.

Published curves and the rows behind them are in their topics and archived from there. A row, a model and its factors
always make the same numbers, so that a curve that is asked for a thousand times is kept once.
"""

from __future__ import annotations

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
from services.id_svc.forecaster import OVERRIDDEN

_MOST_WAITING = 10_000
_MOST_REMEMBERED = 100_000
_EVERY_SECONDS = 30.0
_log = structlog.get_logger(__name__)


class PredictionLog:
    """Writes in the background and never holds a request up: where the lake is away for long, the oldest are lost."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: deque[tuple[FeatureRow, Forecast]] = deque(maxlen=_MOST_WAITING)
        self._kept: LRUCache[tuple[object, ...], None] = LRUCache(_MOST_REMEMBERED)
        self._worker = Worker("prediction log", self._run)
        self._counter = metrics.get_meter(__name__).create_counter(
            "dualcast.prediction_log", description="curves scored on request, by what became of them"
        )

    def start(self) -> None:
        """Begin to write."""
        self._worker.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._worker.stop()

    def add(self, row: FeatureRow, forecast: Forecast) -> None:
        """Keep a curve that was not kept before. Called by one thread at a time."""
        made = forecast.use_case, forecast.entity_id, forecast.model_version, forecast.data_version
        key: tuple[str, ...] = (*made, *forecast.degraded_reasons)
        if any(reason.startswith(OVERRIDDEN) for reason in forecast.degraded_reasons):
            key = *key, repr(row.features)
        if key in self._kept:
            return
        self._kept[key] = None
        if len(self._waiting) == _MOST_WAITING:
            self._counter.add(1, {"outcome": "lost"})
        self._waiting.append((row, forecast))

    def flush(self) -> None:
        """Write what waits: a file for each use case and issue date.

        Raises OSError, after which all of it waits again.
        """
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            for folder, kept in groupby(sorted(waiting, key=_folder), _folder):
                self._write(folder, list(kept))
        except OSError:
            self._waiting.extendleft(reversed(waiting))
            raise
        self._counter.add(len(waiting), {"outcome": "written"})

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
                _log.warning("prediction log not written", error=str(error)[:200], waiting=len(self._waiting))


def _folder(kept: tuple[FeatureRow, Forecast]) -> str:
    forecast = kept[1]
    return f"use_case={forecast.use_case}/issue_date={forecast.issued_at:%Y-%m-%d}"


def _records(kept: list[tuple[FeatureRow, Forecast]]) -> Iterator[dict[str, object]]:
    """One row for each curve. Features are JSON: they differ from one use case and version to the next."""
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
