"""Batch inference: 52 warehouses and their items, 2.5 million predictions from Gold to the lake's forecasts.

The peer is LightGBM's own predict, on all cores, of the same trees on the same matrix. Both run in one program, in
turn. Measured are the steps of ``batch.forecasts.inference`` without registry, gate and topic: read Gold, forecast
whole curves in Spark's workers, compute the gate's statistics, and write the curves as rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from time import perf_counter

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

from batch.forecasts.inference import Inference, compute_curves, quality_facts
from batch.forecasts.stored_curves import store_curves
from batch.lake.gold_day_ahead import gold_schema
from benchmarks.lake import empty_lake
from benchmarks.results import Row
from benchmarks.warehouses import gold_rows, warehouses
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import UseCase
from dualcast.lifecycle.registered_model import RegisteredModel
from dualcast.settings import Settings
from models.inputs import Layout
from models.prediction.model import ForecastModel
from models.prediction.packaging import load_model, save_model
from models.training.fitting import Examples, fit_model

_SERIES = 357_200
_LEARNED_SERIES = 400
_DAY = date(2024, 6, 3)
_FILES = 16


def measure() -> list[Row]:
    """Predictions per second of batch inference, and of LightGBM alone."""
    use_case = warehouses(_SERIES)
    model = trained_model(use_case)
    with empty_lake() as (spark, settings):
        folder = settings.state_dir / "model"
        save_model(model, folder)
        gold = write_gold(settings, use_case, [_DAY])
        whole, count = infer(spark, settings, use_case, folder, [_DAY])
        alone = _seconds_alone(model, folder, gold)
    return [
        Row("batch inference, Gold to stored curves", count / whole, "predictions/s", alone / whole),
        Row("batch inference of 2.5 million", whole, "s", whole / 60),
        Row("LightGBM's predict alone", count / alone, "predictions/s", 1.0),
    ]


def trained_model(use_case: UseCase) -> ForecastModel:
    """The use case's forecaster, trained on some of its series."""
    some = use_case.model_copy(update={"entities": use_case.entities[:_LEARNED_SERIES]})
    days = [_DAY - timedelta(days=7 * weeks) for weeks in range(1, 40)]
    rows = gold_rows(some, [e.id for e in some.entities], days)
    layout = Layout.of(some, "day-ahead")
    return fit_model(some, "day-ahead", layout, Examples.of(layout, some, rows, "actual"), os.cpu_count() or 1).model


def write_gold(settings: Settings, use_case: UseCase, days: Sequence[date]) -> list[Path]:
    """Gold of all series, in files of whole curves."""
    folder = Path(lake_paths(settings).gold_of("day-ahead", use_case.use_case)) / f"delivery_month={days[0]:%Y-%m}"
    folder.mkdir(parents=True)
    ids = np.array([e.id for e in use_case.entities], dtype=object)
    files = []
    for number, part in enumerate(np.array_split(ids, _FILES)):
        rows = gold_rows(use_case, part.tolist(), days, seed=number)
        files.append(folder / f"part-{number:05d}.parquet")
        pq.write_table(pa.Table.from_pandas(rows, schema=gold_schema(use_case), preserve_index=False), files[-1])
    return files


def infer(
    spark: SparkSession, settings: Settings, use_case: UseCase, model: Path, days: Sequence[date]
) -> tuple[float, int]:
    """Forecast some delivery days; return seconds from Gold to stored curves, and how many predictions they hold."""
    begin = perf_counter()
    wanted = sorted((entity.id, day) for entity in use_case.entities for day in days)
    inference = _FromFolder(settings, use_case, "1", wanted, folder=model)
    curves = compute_curves(spark, inference).persist()
    quality_facts(curves)
    target = lake_paths(settings).forecasts("day-ahead", use_case.use_case)
    store_curves(curves, use_case.day_ahead.quantiles, target)
    curves.unpersist()
    seconds = perf_counter() - begin
    return seconds, spark.read.parquet(target).count()


@dataclass(frozen=True)
class _FromFolder(Inference):
    """Inference by a model that is not in a registry."""

    folder: Path = field(kw_only=True)

    def champion(self) -> RegisteredModel:
        """The model in a worker process."""
        return RegisteredModel("model_da", self.model_version, "champion", "run", _loaded(self.folder))


@cache
def _loaded(folder: Path) -> ForecastModel:
    return load_model(folder)


def _seconds_alone(model: ForecastModel, folder: Path, gold: Sequence[Path]) -> float:
    """Seconds that LightGBM needs for all trees of the model on the same rows, which are in memory."""
    ensembles = [lgb.Booster(model_file=file) for file in sorted(folder.glob("**/*trees.txt"))]
    seconds = 0.0
    for file in gold:
        values = model.assembler.from_frame(pd.read_parquet(file)).values[:, 0]
        for trees in ensembles:
            # trees on the residuals of the ridges also read the ridges' prediction: any column of floats replaces it
            matrix = np.column_stack([values, values[:, : trees.num_feature() - values.shape[1]]])
            begin = perf_counter()
            trees.predict(matrix, num_threads=os.cpu_count())
            seconds += perf_counter() - begin
    return seconds
