"""The backtest itself: fold by fold a model that knows the past only, and day by day the forecasts that it makes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pandas as pd
import structlog

from dualcast.adapters.lake import target_column
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.lifecycle.registered_model import CHAMPION, RegisteredModel, model_name
from models.backtest.forecast_file import ForecastFile
from models.backtest.history import History
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

# Told what is being done, and how many of the folds are done.
Progress = Callable[[str, int, int], None]
_log = structlog.get_logger(__name__)


def forecast_folds(
    request: BacktestRequest,
    history: History,
    file: ForecastFile,
    progress: Progress,
    each_entity: EachEntity = one_by_one,
) -> None:
    """Forecast the folds that the file lacks.

    ``each_entity`` makes the feature rows of all entities, here or on a cluster. Raises TooFewExamplesError,
    ForecasterError.
    """
    folds = request.folds()
    if set(file.done) >= {fold.name for fold in folds}:
        return
    days = request.days()
    progress(f"features of {len(days):,} days", len(file.done), len(folds))
    observations = history.on_grid if request.path == "day-ahead" else history.arrivals
    rows = each_entity(RowMaker(request.use_case, request.path, tuple(days)), observations)
    record = PastForecasts(request, history, rows, file.frame())
    for number, fold in enumerate(folds):
        if fold.name in file.done:
            continue
        progress(f"fitting for {fold.first} to {fold.last}", number, len(folds))
        model = _fitted(request, history, rows, fold)
        progress(f"forecasting {fold.first} to {fold.last}", number, len(folds))
        forecasts = list(_forecasts(request, history, rows, fold, model, record))
        if forecasts:
            file.add(fold.name, forecast_frame(forecasts))


def _fitted(request: BacktestRequest, history: History, rows: pd.DataFrame, fold: Fold) -> RegisteredModel:
    """A model that learned from what was known when the fold begins."""
    use_case, path, until = request.use_case, request.path, request.fitted_at(fold)
    before = rows[rows["event_timestamp"] < until].reset_index(drop=True)
    known = known_by(use_case, path, with_targets(use_case, path, before, history.on_grid, until), until)
    layout = Layout.of(use_case, path)
    examples = Examples.of(layout, use_case, known, target_column(path))
    try:
        model = fit_model(use_case, path, layout, examples, os.cpu_count() or 1).model
    except TooFewExamplesError as error:
        raise TooFewExamplesError(f"a model for {fold.first} has too little history: {error}") from error
    return RegisteredModel(model_name(use_case.use_case, path), fold.name, CHAMPION, "", model)


def _forecasts(
    request: BacktestRequest,
    history: History,
    rows: pd.DataFrame,
    fold: Fold,
    model: RegisteredModel,
    record: PastForecasts,
) -> Iterator[Forecast]:
    """The curves of a fold, day by day; an entity and day of which nothing can be said is left out."""
    wanted = rows[(rows["delivery_day"] >= fold.first) & (rows["delivery_day"] <= fold.last)]
    for day, of_day in wanted.groupby("delivery_day", sort=True):
        factors = record.factors(model, of_day)
        try:
            made = _of_day(request, history, of_day, model, factors)
        except NoPredictionError:
            made = []
            for entity_id, part in of_day.groupby("entity_id", sort=True):
                try:
                    made += _of_day(request, history, part, model, factors)
                except NoPredictionError as error:
                    _log.warning("no forecast", entity=entity_id, day=str(day), reason=str(error))
        record.add(made)
        yield from made


def _of_day(
    request: BacktestRequest, history: History, rows: pd.DataFrame, model: RegisteredModel, factors: Factors
) -> list[Forecast]:
    """All curves of some rows of one day, or none. Raises NoPredictionError."""
    if request.path == "day-ahead":
        curves = day_ahead_curves(model, request.use_case, rows, history.data_version, factors=factors)
        return list(curves.forecasts())
    # of values that became known together, and of a value that came again, one forecast was made
    issued = rows.drop_duplicates(["entity_id", "event_timestamp"], keep="last")
    issued = issued.drop_duplicates(["entity_id", "valid_time"], keep="first")
    widths = {entity_id: {since: found} for (entity_id, since), found in factors.items()}
    return list(intraday_forecasts(model, request.use_case, issued, history.data_version, widths))
