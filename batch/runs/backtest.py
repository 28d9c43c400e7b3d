"""``dualcast backtest``: forecasts a use case on a file as in the past; writes forecasts, scores and a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dualcast import telemetry
from dualcast.adapters.files.observations import load_mapping
from dualcast.catalogue import CatalogueError, Path_, UseCase, load_use_case
from dualcast.console import AsJson, exit_on
from dualcast.observations.frames import SourceError
from dualcast.settings import Settings, load_settings
from models.backtest.forecast_file import OtherBacktestError
from models.backtest.request import BacktestRequest, BacktestRequestError, what_if
from models.evaluation.files import FaultyForecastsError
from models.evaluation.score_table import score_table
from models.evaluation.scoring import ALL
from models.forecasters.registry import ForecasterError
from models.training.fitting import TooFewExamplesError

if TYPE_CHECKING:
    import pandas as pd

    from models.backtest.rows import EachEntity, RowMaker

app = typer.Typer()

# With at least so many entities, Spark saves more time than its start takes.
_MANY = 8
_ERRORS = (
    CatalogueError,
    FaultyForecastsError,
    ForecasterError,
    OSError,
    OtherBacktestError,
    BacktestRequestError,
    SourceError,
    TooFewExamplesError,
)
_DAY = ["%Y-%m-%d"]
_Name = Annotated[str, typer.Argument(metavar="USE_CASE", help="Name of the use case.")]
_Data = Annotated[Path, typer.Option("--data", help="CSV or Parquet file with the whole history.")]
_First = Annotated[datetime, typer.Option("--from", formats=_DAY, help="First local day that is forecast.")]
_Last = Annotated[datetime, typer.Option("--to", formats=_DAY, help="Last local day that is forecast.")]
_Out = Annotated[Path, typer.Option("--out", help="Parquet file of the forecasts; an incomplete one is resumed.")]
_PathOption = Annotated[Path_, typer.Option("--path", help="day-ahead or intraday.")]
_Refit = Annotated[str, typer.Option(help="Time between model fits: ISO 8601, such as P3M, P1M, P7D.")]
_Every = Annotated[int, typer.Option(min=1, metavar="DAYS", help="Days between curves.")]
_Cutoff = Annotated[
    datetime | None,
    typer.Option(formats=["%H:%M"], help="What if: the forecasts are made at this local time.", show_default=False),
]
_Without = Annotated[
    list[str] | None, typer.Option("--without", help="What if: this variable is missing. May be repeated.")
]
_Mapping = Annotated[
    Path | None,
    typer.Option(help="YAML with the keys of a use case's 'replay'; default: the use case's own.", show_default=False),
]
_Report = Annotated[Path | None, typer.Option(help="HTML report; default: beside --out.", show_default=False)]
_Fallbacks = Annotated[bool, typer.Option("--fallbacks", help="Also forecast and score with each fallback.")]


@app.command()
def backtest(  # noqa: PLR0913, PLR0917 -- each is an option of the command
    name: _Name,
    data: _Data,
    first: _First,
    last: _Last,
    out: _Out,
    path: _PathOption = "day-ahead",
    refit: _Refit = "P3M",
    every: _Every = 1,
    cutoff: _Cutoff = None,
    without: _Without = None,
    mapping: _Mapping = None,
    report: _Report = None,
    fallbacks: _Fallbacks = False,
    as_json: AsJson = False,
) -> None:
    """Forecast each day of a past window from what was published before each forecast, and score the forecasts.

    After an interruption, the same command resumes.
    """
    from models.backtest.run import log_to_mlflow, run_backtest  # noqa: PLC0415 -- slow imports come after help texts

    settings = load_settings()
    telemetry.configure(settings, "backtest")
    report = report or out.with_suffix(".html")
    with _errors_reported():
        case = load_use_case(name, settings.use_cases)
        if mapping is not None:
            case = case.model_copy(update={"replay": load_mapping(mapping)})
        case = what_if(case, path, None if cutoff is None else cutoff.time(), without or [])
        request = BacktestRequest(case, path, first.date(), last.date(), refit, tuple(sorted(without or [])), every)
        with _progress() as report_progress:
            done = run_backtest(
                request,
                data,
                out,
                report,
                settings.clock.now,
                report_progress,
                _each_entity(settings, case),
                fallbacks=fallbacks,
            )
    logged = log_to_mlflow(settings, request, done, report)
    if as_json:
        typer.echo(json.dumps(done.summary.as_dict(), indent=1))
    else:
        by = "month" if path == "day-ahead" else "horizon"
        unit, interval = case.unit, case.part(path).interval
        Console().print(score_table({ALL: done.summary.overall, **done.summary.groups[by]}, by, unit, interval))
        if done.summary.answers:
            Console().print(score_table(done.summary.answers, "answer", unit, interval))
    text = f"forecasts: {out}, report: {report}" + (", and in MLflow" if logged else "")
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def _each_entity(settings: Settings, case: UseCase) -> EachEntity:
    """Runs on one entity after another, or on Spark where there are many; Spark starts when first needed."""
    if len(case.entities) < _MANY:
        from models.backtest.rows import one_by_one  # noqa: PLC0415 -- slow imports come after help texts

        return one_by_one

    def on_spark(maker: RowMaker, observations: pd.DataFrame) -> pd.DataFrame:
        from pyspark.errors import PySparkRuntimeError  # noqa: PLC0415 -- slow, and of no use to a few entities

        from batch.engine.session import spark_session  # noqa: PLC0415
        from batch.runs.backtest_rows import SparkRows  # noqa: PLC0415

        try:
            spark = spark_session(settings)
        except PySparkRuntimeError as error:
            raise ConnectionError(f"Spark did not start; `dualcast up` installs a Java for it: {error}") from error
        return SparkRows(spark)(maker, observations)

    return on_spark


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar of the folds, with the current step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=None)

        def report_progress(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total)

        yield report_progress


@contextmanager
def _errors_reported() -> Iterator[None]:
    """Report expected errors without a traceback; after Ctrl-C, how to resume."""
    try:
        with exit_on(*_ERRORS, status=2):
            yield
    except KeyboardInterrupt as stopped:
        Console(stderr=True).print("stopped; the same command resumes the backtest")
        raise typer.Exit(130) from stopped
