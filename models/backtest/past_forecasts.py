"""The forecasts of a backtest so far and their actuals, from which the next day's intervals are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import pandas as pd

from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.timegrid import day_bounds, micros
from models.backtest.history import FileHistory
from models.backtest.request import BacktestRequest
from models.evaluation.actuals import with_actuals
from models.intervals.adaptive import one_an_hour, record_length
from models.prediction.interval_factors import Factors, interval_factors

# Columns that identify the row a published point was made from.
_KEY = {"day-ahead": ["entity_id", "issued_at", "valid_time"], "intraday": ["entity_id", "issued_at"]}


class PastForecasts:
    """The curves of a backtest, oldest first, as ``interval_factors`` takes them."""

    def __init__(
        self, request: BacktestRequest, history: FileHistory, rows: pd.DataFrame, stored: pd.DataFrame
    ) -> None:
        """``rows`` hold the scale of every interval; ``stored`` are the forecasts of folds that were done before."""
        self._request = request
        scale = request.use_case.part(request.path).scale
        self._key = _KEY[request.path]
        known = rows.assign(issued_at=rows["event_timestamp"])[[*self._key, *([scale] if scale else [])]]
        self._scales = known.drop_duplicates(self._key, keep="last")
        target = history.on_grid[history.on_grid["variable"] == request.use_case.target]
        self._observed = target
        self._published_at = target["published_at"].dt.as_unit("us").astype("int64").to_numpy()
        self._days = [stored] if len(stored) else []

    def add(self, forecasts: Sequence[Forecast]) -> None:
        """Add the curves of a further day."""
        if forecasts:
            made = forecast_frame(forecasts)
            self._days.append(made if self._request.path == "day-ahead" else one_an_hour(made))

    def factors(self, model: RegisteredModel, rows: pd.DataFrame) -> Factors:
        """The interval factors of the curves of some rows."""
        if not self._days:
            return {}
        curves = self._curves(rows)
        past = self._past(max(cutoff for _, cutoff in curves))
        return interval_factors(model, self._request.use_case, past, curves)

    def _curves(self, rows: pd.DataFrame) -> list[tuple[str, datetime]]:
        """Entities with the moment of their factors, for rows of one day: the cutoff, or midnight intraday."""
        if self._request.path == "day-ahead":
            heads = rows[["entity_id", "event_timestamp"]].drop_duplicates()
            cutoffs = pd.DatetimeIndex(heads["event_timestamp"]).to_pydatetime()
            return list(zip(heads["entity_id"], cutoffs, strict=True))
        heads = rows[["entity_id", "delivery_day"]].drop_duplicates()
        return [(entity_id, self._midnight(entity_id, day)) for entity_id, day in heads.itertuples(index=False)]

    def _midnight(self, entity_id: str, day: date) -> datetime:
        """When a local day begins, UTC."""
        return day_bounds(day, self._request.use_case.entity(entity_id).time_zone)[0]

    def _past(self, cutoff: datetime) -> pd.DataFrame:
        """The curves within the record, with scale and actual in the vintage known before ``cutoff``."""
        begin = cutoff - record_length(self._request.path)
        curves = pd.concat(self._days, ignore_index=True)
        recent = curves[curves["issued_at"] >= begin].reset_index(drop=True)
        self._days = [recent]
        past = with_actuals(self._request.use_case, self._request.path, recent, self._since(begin), cutoff)
        return past.merge(self._scales, on=self._key, how="left")

    def _since(self, begin: datetime) -> pd.DataFrame:
        """The target's values that were published from a moment on."""
        return self._observed.iloc[np.searchsorted(self._published_at, micros(begin)) :]
