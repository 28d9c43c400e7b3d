"""What a backtest has said so far and what was known to have come true: what the intervals of the next day follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from dualcast.adapters.model_registry import RegisteredModel
from dualcast.records import Forecast, forecast_frame
from dualcast.timegrid import micros
from models.adaptive import MEMORY
from models.backtest.history import History
from models.backtest.question import Question
from models.backtest.rows import with_targets
from models.forecasting import Factors, interval_factors

_KEY = ["entity_id", "issued_at", "valid_time"]


class TrackRecord:
    """The day-ahead curves of a backtest, oldest first, as ``interval_factors`` takes them."""

    def __init__(self, question: Question, history: History, rows: pd.DataFrame, stored: pd.DataFrame) -> None:
        """``rows`` hold the scale of every interval; ``stored`` are the forecasts of folds that were done before."""
        self._question = question
        scale = question.use_case.day_ahead.scale
        self._scales = rows.rename(columns={"event_timestamp": "issued_at"})[[*_KEY, *([scale] if scale else [])]]
        target = history.on_grid[history.on_grid["variable"] == question.use_case.target]
        self._observed = target
        self._published_at = target["published_at"].dt.as_unit("us").astype("int64").to_numpy()
        self._days = [stored] if len(stored) else []

    def add(self, forecasts: Sequence[Forecast]) -> None:
        """Enter the curves of one more day."""
        if forecasts:
            self._days.append(forecast_frame(forecasts))

    def factors(self, model: RegisteredModel, rows: pd.DataFrame) -> Factors:
        """How wide the intervals of the curves of some rows are to be."""
        if not self._days:
            return {}
        curves = rows[["entity_id", "event_timestamp"]].drop_duplicates()
        cutoffs = pd.DatetimeIndex(curves["event_timestamp"]).to_pydatetime()
        past = self._past(max(cutoffs))
        return interval_factors(model, self._question.use_case, past, zip(curves["entity_id"], cutoffs, strict=True))

    def _past(self, cutoff: datetime) -> pd.DataFrame:
        """The curves of the last ``MEMORY`` with scale and actual, in the vintage known before ``cutoff``."""
        begin = cutoff - MEMORY
        curves = pd.concat(self._days, ignore_index=True)
        recent = curves[curves["issued_at"] >= begin].reset_index(drop=True)
        self._days = [recent]
        known = with_targets(self._question.use_case, "day-ahead", recent, self._since(begin), cutoff)
        return known.merge(self._scales, on=_KEY, how="left")

    def _since(self, begin: datetime) -> pd.DataFrame:
        """The target's values that were published from a moment on."""
        return self._observed.iloc[np.searchsorted(self._published_at, micros(begin)) :]
