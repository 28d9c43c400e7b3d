"""Interval factors from the lake, where the batch path writes them once a day.

Without factors, intervals stay as calibrated. This is so until the record of published curves is long enough, and if
the lake is unavailable from the start.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import pandas as pd
import structlog

from dualcast.adapters.lake import factor_rows, models_of_factors, moments_of_factors
from dualcast.arrays import Floats
from dualcast.catalogue import UseCase
from dualcast.curves.forecast import Forecast
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.records import FeatureRow
from dualcast.settings import Settings
from models.prediction.curve import NoPredictionError
from models.prediction.interval_factors import IntradayFactors
from models.prediction.intraday import intraday_curves
from services.background import Worker

_POLL_SECONDS = 10.0
# Late rows need the factors that were in force on their day.
_KEPT = timedelta(days=2)
_log = structlog.get_logger(__name__)


class IntervalFactorCache:
    """Holds the newest factors of each model in memory, and predicts curves with them."""

    def __init__(self, settings: Settings, catalogue: Mapping[str, UseCase]) -> None:
        self._settings = settings
        self._catalogue = catalogue
        # use case, beginning of validity and model version -> entity -> (H, levels)
        self._held: dict[tuple[str, datetime, str], dict[str, Floats]] = {}
        # the same factors, by use case and model version
        self._factors: Mapping[tuple[str, str], IntradayFactors] = {}
        self._worker = Worker("intervals", self._poll)

    def start(self) -> None:
        """Start polling the lake."""
        self._worker.start()

    def stop(self) -> None:
        """Stop polling."""
        self._worker.stop()

    def curves(
        self, model: RegisteredModel, use_case: UseCase, rows: Sequence[FeatureRow], issued_at: Sequence[datetime]
    ) -> list[Forecast | NoPredictionError]:
        """``intraday_curves``, with the factors of the model."""
        factors = self._factors.get((use_case.use_case, model.version))
        return intraday_curves(model, use_case, rows, issued_at, factors=factors)

    def refresh(self) -> None:
        """Read new factors and drop old ones. Raises OSError."""
        stored = {key for use_case in self._catalogue for key in self._stored(use_case)}
        for key in sorted(stored - self._held.keys()):  # a file never changes
            self._held[key] = _factors(factor_rows(self._settings, *key))
            _log.info("intervals", use_case=key[0], since=key[1].isoformat(), model=key[2])
        self._held = {key: found for key, found in self._held.items() if key in stored}
        self._factors = _by_model(self._held)

    def _stored(self, use_case: str) -> Iterator[tuple[str, datetime, str]]:
        """The factors in the lake of the newest moment up to now, and of those shortly before it."""
        known = [m for m in moments_of_factors(self._settings, use_case) if m <= self._settings.clock.now()]
        for moment in known:
            if moment > known[-1] - _KEPT:
                for version in models_of_factors(self._settings, use_case, moment):
                    yield use_case, moment, version

    def _poll(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.refresh()
            except OSError as error:
                _log.warning("lake unavailable, interval factors not updated", error=str(error)[:200])
            stop.wait(_POLL_SECONDS)


def _factors(rows: pd.DataFrame) -> dict[str, Floats]:
    """Entity -> (H, levels)."""
    ordered = rows.sort_values(["horizon", "level"], kind="stable")
    return {
        str(entity_id): mine["factor"].to_numpy().reshape(-1, mine["level"].nunique())
        for entity_id, mine in ordered.groupby("entity_id")
    }


def _by_model(
    held: Mapping[tuple[str, datetime, str], Mapping[str, Floats]],
) -> Mapping[tuple[str, str], IntradayFactors]:
    out: dict[tuple[str, str], dict[str, dict[datetime, Floats]]] = {}
    for (use_case, moment, version), factors in held.items():
        of_model = out.setdefault((use_case, version), {})
        for entity_id, widths in factors.items():
            of_model.setdefault(entity_id, {})[moment] = widths
    return out
