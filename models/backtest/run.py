"""A whole backtest: read the file, forecast the missing folds, score, write the report, log to MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from dualcast.adapters.model_registry import RegistryUnavailableError, record
from dualcast.catalogue import UseCase
from dualcast.settings import Settings
from dualcast.timegrid import iso_duration
from models.backtest.fallbacks import FallbackForecasts
from models.backtest.folds import Folds, Progress, forecast_folds
from models.backtest.forecast_file import ForecastFile
from models.backtest.history import FileHistory, read_history
from models.backtest.report.page import Subject, render
from models.backtest.request import BacktestRequest, BacktestRequestError, refit_length
from models.backtest.rows import EachEntity, one_by_one
from models.backtest.summary import Summary, summarise
from models.evaluation.files import FaultyForecastsError
from models.prediction.code_version import code_version

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class BacktestRun:
    """The result of a backtest, and the facts it was made with."""

    summary: Summary
    facts: dict[str, str]


def run_backtest(
    request: BacktestRequest,
    data: Path,
    out: Path,
    report: Path,
    now: Callable[[], datetime],
    progress: Progress,
    each_entity: EachEntity = one_by_one,
    *,
    fallbacks: bool = False,
) -> BacktestRun:
    """Forecast into ``out`` and report into ``report``; continue an interrupted run.

    With ``fallbacks``, forecasts of each fallback of the use case are made and scored too, in files beside ``out``.
    Raises SourceError, BacktestRequestError, OtherBacktestError, TooFewExamplesError, ForecasterError and
    FaultyForecastsError.
    """
    if out.suffix != ".parquet":
        raise BacktestRequestError(f"{out}: forecasts are written as Parquet, so the name must end in .parquet")
    for folder in (out.parent, report.parent):
        folder.mkdir(parents=True, exist_ok=True)
    progress(f"reading {data.name}", 0, len(request.folds()))
    history = read_history(data, request.use_case)
    for note in history.notes:
        _log.info("source", note=note)
    history.check_window(request.use_case, request.first, request.last)
    facts = request.facts() | {"data": history.data_version, "code version": code_version()}
    file = ForecastFile(out, facts)
    folds = Folds(request, history, each_entity, keep_models=fallbacks)
    forecast_folds(folds, file, progress)
    if not file.done:
        raise FaultyForecastsError("no day of the window can be forecast: does the file have gaps there?")
    others = dict(FallbackForecasts(folds, file, facts, progress).frames()) if fallbacks else {}
    progress("scoring", len(file.done), len(file.done))
    summary = summarise(request.use_case, request.path, file.frame(), history.actuals(request.use_case), others)
    subject = _subject(request, history, facts, data, now())
    unfinished = report.with_name(f".{report.name}.unfinished")
    unfinished.write_text(render(subject, summary), encoding="utf-8")
    unfinished.replace(report)
    return BacktestRun(summary, facts)


def log_to_mlflow(settings: Settings, request: BacktestRequest, done: BacktestRun, report: Path) -> bool:
    """Log scores and report to MLflow where one is configured; return whether that succeeded."""
    if "mlflow" not in settings.model_fields_set:
        return False
    overall = {k: v for k, v in done.summary.overall.as_dict().items() if v is not None}
    quarters = {
        f"coverage_{name.replace(' ', '_').lower()}": found.inside for name, found in done.summary.calibration.items()
    }
    name = f"backtest {request.path} {request.first} to {request.last}"
    params = {key.replace(" ", "_"): value for key, value in done.facts.items()}
    try:
        record(settings, request.use_case.use_case, name, params, overall | quarters, [report])
    except RegistryUnavailableError as error:
        _log.warning("backtest not logged to MLflow", error=str(error))
        return False
    return True


def _subject(
    request: BacktestRequest, history: FileHistory, facts: dict[str, str], data: Path, now: datetime
) -> Subject:
    """The title of the report, and how it was made."""
    use_case = request.use_case
    part = use_case.part(request.path)
    refused = ", ".join(f"{count:,} {reason}" for reason, count in history.refused.items())
    return Subject(
        title=f"{use_case.title}: backtest of the {request.path} forecast",
        subtitle=f"{request.first} to {request.last}, {_rhythm(use_case, request)}",
        unit=use_case.unit,
        reference=use_case.reference,
        interval=part.interval,
        facts={
            **facts,
            "file": data.name,
            "values refused": refused or "none",
            "entities": ", ".join(sorted(history.on_grid["entity_id"].unique())),
            "forecaster": part.forecaster.name,
            "parameters": ", ".join(f"{k}: {v}" for k, v in part.forecaster.params.items()) or "defaults",
            "training window": f"{part.training_days} days",
            "features": ", ".join(part.features),
            "report made": f"{now:%Y-%m-%d %H:%M} UTC",
        },
    )


def _rhythm(use_case: UseCase, request: BacktestRequest) -> str:
    """When forecasts are made for which intervals, and how often a model is fitted."""
    if request.path == "day-ahead":
        made = f"tomorrow by {_words(use_case.day_ahead.resolution)}, made at {use_case.day_ahead.cutoff:%H:%M}"
    else:
        part = use_case.part("intraday")
        made = f"{part.horizons} intervals ahead by {_words(part.resolution)}, made when each value arrived"
    length = refit_length(request.refit).kwds
    every = " and ".join(f"{count} {unit}" for unit, count in length.items() if count)
    return f"{made}; refitted every {every} on earlier days only, with inputs as known at the time"


def _words(step: timedelta) -> str:
    """A resolution in words."""
    names = {timedelta(minutes=15): "quarter-hour", timedelta(hours=1): "hour", timedelta(days=1): "day"}
    return names.get(step, iso_duration(step))
