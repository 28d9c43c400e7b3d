"""Folds of a backtest: for each a model that is fitted on the past alone, and the forecasts that it makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cached_property

import pandas as pd
import structlog

from dualcast.adapters.lake import target_column
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.lifecycle.registered_model import CHAMPION, RegisteredModel, model_name
from models.backtest.forecast_file import ForecastFile
from models.backtest.history import FileHistory
from models.backtest.past_forecasts import PastForecasts
from models.backtest.request import BacktestRequest, Fold
from models.backtest.rows import EachEntity, RowMaker, one_by_one, with_targets
from models.inputs import Layout
from models.prediction.curve import NoPredictionError
from models.prediction.day_ahead import day_ahead_curves
from models.prediction.interval_factors import Factors
from models.prediction.intraday import intraday_forecasts
from models.training.fitting import Examples, TooFewExamplesError, fit_model
from models.training.train import known_by

# Reports what is being done, and how many of the folds are done.
Progress = Callable[[str, int, int], None]
_log = structlog.get_logger(__name__)


class Folds:
    """The rows of a backtest and the models of its folds, each made when it is first needed."""

    def __init__(
        self,
        request: BacktestRequest,
        history: FileHistory,
        each_entity: EachEntity = one_by_one,
        *,
        keep_models: bool = False,
    ) -> None:
        """``each_entity`` makes the feature rows of all entities, here or on a cluster.

        With ``keep_models`` every model stays in memory, for the fallbacks; otherwise the newest.
        """
        self.request = request
        self.history = history
        self.each_entity = each_entity
        self._keep_models = keep_models
        self._models: dict[str, RegisteredModel] = {}

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The feature rows of all days that are forecast or trained on."""
        request, history = self.request, self.history
        observations = history.on_grid if request.path == "day-ahead" else history.arrivals
        return self.each_entity(RowMaker(request.use_case, request.path, tuple(request.days())), observations)

    def rows_of(self, fold: Fold) -> pd.DataFrame:
        """The feature rows of the days of a fold."""
        return self.rows[(self.rows["delivery_day"] >= fold.first) & (self.rows["delivery_day"] <= fold.last)]

    def model(self, fold: Fold) -> RegisteredModel:
        """A model fitted on what was known when the fold begins. Raises TooFewExamplesError, ForecasterError."""
        if fold.name not in self._models:
            kept = self._models if self._keep_models else {}
            self._models = {**kept, fold.name: self._fitted(fold)}
        return self._models[fold.name]

    def _fitted(self, fold: Fold) -> RegisteredModel:
        request, rows = self.request, self.rows
        use_case, path, until = request.use_case, request.path, request.fitted_at(fold)
        before = rows[rows["event_timestamp"] < until].reset_index(drop=True)
        known = known_by(use_case, path, with_targets(use_case, path, before, self.history.on_grid, until), until)
        layout = Layout.of(use_case, path)
        examples = Examples.of(layout, use_case, known, target_column(path))
        try:
            model = fit_model(use_case, path, layout, examples, os.cpu_count() or 1).model
        except TooFewExamplesError as error:
            raise TooFewExamplesError(f"a model for {fold.first} has too little history: {error}") from error
        return RegisteredModel(model_name(use_case.use_case, path), fold.name, CHAMPION, "", model)


def forecast_folds(folds: Folds, file: ForecastFile, progress: Progress) -> None:
    """Forecast the folds that the file lacks. Raises TooFewExamplesError, ForecasterError."""
    wanted = folds.request.folds()
    if set(file.done) >= {fold.name for fold in wanted}:
        return
    progress(f"features of {len(folds.request.days()):,} days", len(file.done), len(wanted))
    past = PastForecasts(folds.request, folds.history, folds.rows, file.frame())
    for number, fold in enumerate(wanted):
        if fold.name in file.done:
            continue
        progress(f"fitting for {fold.first} to {fold.last}", number, len(wanted))
        model = folds.model(fold)
        progress(f"forecasting {fold.first} to {fold.last}", number, len(wanted))
        forecasts = []
        for made in forecasts_by_day(folds, folds.rows_of(fold), model, past):
            past.add(made)
            forecasts += made
        if forecasts:
            file.add(fold.name, forecast_frame(forecasts))


def forecasts_by_day(
    folds: Folds, rows: pd.DataFrame, model: RegisteredModel, past: PastForecasts
) -> Iterator[list[Forecast]]:
    """The curves of rows, day by day; an entity and day that cannot be forecast is left out."""
    for day, of_day in rows.groupby("delivery_day", sort=True):
        factors = past.factors(model, of_day)
        try:
            made = _of_day(folds.request, folds.history, of_day, model, factors)
        except NoPredictionError:
            made = []
            for entity_id, part in of_day.groupby("entity_id", sort=True):
                try:
                    made += _of_day(folds.request, folds.history, part, model, factors)
                except NoPredictionError as error:
                    _log.warning("no forecast", entity=entity_id, day=str(day), reason=str(error))
        yield made


def _of_day(
    request: BacktestRequest, history: FileHistory, rows: pd.DataFrame, model: RegisteredModel, factors: Factors
) -> list[Forecast]:
    """All curves of some rows of one day, or none. Raises NoPredictionError."""
    if request.path == "day-ahead":
        curves = day_ahead_curves(model, request.use_case, rows, history.data_version, factors=factors)
        return list(curves.forecasts())
    # values that became known together, and a corrected value, made one forecast
    issued = rows.drop_duplicates(["entity_id", "event_timestamp"], keep="last")
    issued = issued.drop_duplicates(["entity_id", "valid_time"], keep="first")
    widths = {entity_id: {since: found} for (entity_id, since), found in factors.items()}
    return list(intraday_forecasts(model, request.use_case, issued, history.data_version, widths))
