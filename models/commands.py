"""Commands of the models: ``dualcast train day-ahead | intraday`` and ``dualcast score``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dualcast.catalogue import Path_, load_use_case
from dualcast.console import AsJson, UseCaseName, configured, exit_on
from dualcast.settings import load_settings
from dualcast.steps import Steps
from dualcast.timegrid import as_utc
from models.evaluation.files import FaultyForecastsError, read_actuals, read_forecasts
from models.evaluation.score_table import score_table
from models.evaluation.scoring import scores_by_group
from models.forecasters.registry import ForecasterError
from models.training.fitting import TooFewExamplesError

app = typer.Typer(no_args_is_help=True, help="Train and score models.")
training = typer.Typer(no_args_is_help=True, help="Train a model from the feature store and publish it as champion.")
app.add_typer(training, name="train")

_Until = Annotated[datetime | None, typer.Option(help="Train on what was known then (UTC); default: now, by the clock")]
_ERRORS: tuple[type[Exception], ...] = (
    ConnectionError,
    FileNotFoundError,
    LookupError,
    TooFewExamplesError,
    ForecasterError,
    FaultyForecastsError,
)


@training.command("day-ahead")
def train_day_ahead(use_case: UseCaseName = None, until: _Until = None, as_json: AsJson = False) -> None:
    """Train the day-ahead model."""
    _train("day-ahead", use_case, until, as_json=as_json)


@training.command("intraday")
def train_intraday(use_case: UseCaseName = None, until: _Until = None, as_json: AsJson = False) -> None:
    """Train the intraday model."""
    _train("intraday", use_case, until, as_json=as_json)


@app.command()
def score(
    forecasts: Annotated[list[Path], typer.Option(exists=True, help="Forecast files or folders, Parquet or CSV")],
    actuals: Annotated[
        list[Path], typer.Option(exists=True, help="Actuals: valid_time and one column for each variable")
    ],
    use_case: UseCaseName = None,
    path: Annotated[Path_, typer.Option(help="day-ahead: by local hour; intraday: by horizon")] = "day-ahead",
    as_json: AsJson = False,
) -> None:
    """Score forecasts: errors, intervals, and skill against the reference and the naive forecast."""
    settings = load_settings()
    case = load_use_case(use_case or settings.use_case, settings.use_cases)
    with exit_on(*_ERRORS):
        found = scores_by_group(case, path, read_forecasts(forecasts, case, path), read_actuals(actuals, case))
    if as_json:
        typer.echo(json.dumps({key: s.as_dict() for key, s in found.items()}, indent=1))
        return
    by = "local hour" if path == "day-ahead" else "horizon"
    Console().print(score_table(found, by, case.unit, case.part(path).interval))


def _train(path: Path_, use_case: str | None, until: datetime | None, *, as_json: bool) -> None:
    from dualcast.adapters.feature_store import (  # noqa: PLC0415 -- takes seconds to import
        FeatureStoreError,
    )
    from models.training.train import train  # noqa: PLC0415

    settings, case = configured(use_case, "training")
    moment = settings.clock.now() if until is None else as_utc(until)
    console = Console(stderr=True)
    with exit_on(*_ERRORS, FeatureStoreError):
        done = train(settings, case, path, moment, Steps(console))
    held_out = done.fitted.metrics
    summary = {
        "model": done.name,
        "version": done.version,
        "until": moment.isoformat(),
        "examples": done.fitted.examples,
        "data_version": done.data_version,
        "seconds": done.seconds,
        "held_out": held_out,
    }
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
        return
    console.print(f"{done.name} version {done.version} is champion, {sum(done.seconds.values()):.0f} s")
    Console().print(_metrics_table(held_out, case.unit, done.fitted.held_out))


def _metrics_table(found: dict[str, float], unit: str, rows: int) -> Table:
    table = Table(title=f"On the newest {rows:,} rows, not seen in training")
    table.add_column("measure")
    table.add_column("value", justify="right")
    units = {"mape": "%", "mae": unit, "rmse": unit, "pinball": unit, "coverage": "%"}
    for name, value in found.items():
        if not any(part in name for part in ("_slot_", "_month_")):
            table.add_row(name.replace("_", " "), f"{value:.2f} {units.get(name.split('_')[0], '')}")
    return table
