"""Forecasts that the fallbacks of a use case make in the window of a backtest, as the services serve them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from dualcast.curves.fallbacks import DEGRADED_INPUTS, LAST_STORED, PREVIOUS_VERSION, SHIFTED_DAY_AHEAD, fallback_reason
from dualcast.curves.frames import forecast_frame
from dualcast.lifecycle.registered_model import PREVIOUS, RegisteredModel
from models.backtest.folds import Folds, Progress, forecast_folds, forecasts_by_day
from models.backtest.forecast_file import ForecastFile
from models.backtest.past_forecasts import PastForecasts
from models.backtest.request import Fold
from models.backtest.shifted import shifted_frame
from models.inputs import Layout

# The last stored curve of a backtest is as old as after an outage of this length.
_OUTAGE = timedelta(hours=1)


class FallbackForecasts:
    """Makes and stores the forecasts of each fallback, in files beside that of the champion.

    A file can be scored as any forecast file. A fallback without forecasts of the window makes no file:
    ``last_stored`` of the day-ahead path answers with the curve of an earlier day.
    """

    def __init__(self, folds: Folds, champion: ForecastFile, facts: Mapping[str, str], progress: Progress) -> None:
        self._folds = folds
        self._champion = champion
        self._facts = facts
        self._progress = progress

    def frames(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The forecasts of each fallback. Raises OtherBacktestError, TooFewExamplesError, ForecasterError."""
        request = self._folds.request
        wanted = request.folds()
        for fallback in request.use_case.part(request.path).fallbacks:
            if request.path == "day-ahead" and fallback == LAST_STORED:
                continue
            file = ForecastFile(self._beside(fallback), {**self._facts, "fallback": fallback})
            for number, fold in enumerate(wanted):
                if fold.name not in file.done and fold.name in self._champion.done:
                    self._progress(f"{fallback} for {fold.first} to {fold.last}", number, len(wanted))
                    made = self._made(fallback, fold, wanted[number - 1] if number else None)
                    if len(made):
                        file.add(fold.name, made)
            if file.done:
                yield fallback, file.frame()

    def _made(self, fallback: str, fold: Fold, before: Fold | None) -> pd.DataFrame:
        """The forecasts of a fallback in a fold; empty where it has none."""
        folds = self._folds
        if fallback == PREVIOUS_VERSION:
            if before is None:
                return pd.DataFrame()
            return self._predicted(replace(folds.model(before), alias=PREVIOUS), folds.rows_of(fold))
        if fallback == DEGRADED_INPUTS:
            return self._predicted(folds.model(fold), _without_optional(folds, folds.rows_of(fold)))
        frame = self._champion.frame()
        of_fold = frame[frame["model_version"] == fold.name]
        if fallback == LAST_STORED:
            return last_stored(frame, of_fold)
        found = shifted_frame(folds.request.use_case, folds.history, self._day_ahead(), of_fold)
        return _as_fallback(found, SHIFTED_DAY_AHEAD)

    def _predicted(self, model: RegisteredModel, rows: pd.DataFrame) -> pd.DataFrame:
        """The forecasts of a model, with intervals that follow what the champion published."""
        folds = self._folds
        past = PastForecasts(folds.request, folds.history, folds.rows, self._champion.frame())
        made = [forecast for of_day in forecasts_by_day(folds, rows, model, past) for forecast in of_day]
        return forecast_frame(made) if made else pd.DataFrame()

    def _day_ahead(self) -> pd.DataFrame:
        """Day-ahead forecasts of the days of the window, and of the day before and after."""
        request, day = self._folds.request, timedelta(days=1)
        wider = replace(request, path="day-ahead", first=request.first - day, last=request.last + day)
        file = ForecastFile(self._beside("day_ahead"), {**self._facts, **wider.facts()})
        forecast_folds(Folds(wider, self._folds.history, self._folds.each_entity), file, self._progress)
        return file.frame()

    def _beside(self, name: str) -> Path:
        path = self._champion.path
        return path.with_name(f"{path.stem}.{name}{path.suffix}")


def _without_optional(folds: Folds, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in which every feature of an optional variable is unknown."""
    layout = Layout.of(folds.request.use_case, folds.request.path)
    unknown = {feature: np.nan for variable in layout.optional for feature in layout.readers[variable]}
    return rows.assign(**unknown)


def last_stored(stored: pd.DataFrame, wanted: pd.DataFrame) -> pd.DataFrame:
    """For each wanted curve the points that were left of the newest one stored an hour before, or earlier."""
    parts = []
    for entity_id, of_entity in wanted.groupby("entity_id", sort=True):
        mine = stored[stored["entity_id"] == entity_id]
        issues = np.sort(mine["issued_at"].unique())
        issued_at = pd.DataFrame({"issued_at": np.sort(of_entity["issued_at"].unique())})
        newest = np.searchsorted(issues, issued_at["issued_at"].to_numpy() - _OUTAGE, side="right") - 1
        there = issued_at[newest >= 0].assign(stored_at=issues[newest[newest >= 0]])
        points = there.merge(mine.rename(columns={"issued_at": "stored_at"}), on="stored_at")
        parts.append(points[points["valid_time"] >= points["issued_at"]].drop(columns="stored_at"))
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return _as_fallback(found[list(wanted.columns)], LAST_STORED) if len(found) else found


def _as_fallback(frame: pd.DataFrame, fallback: str) -> pd.DataFrame:
    return frame.assign(degraded=True, degraded_reasons=fallback_reason(fallback))
