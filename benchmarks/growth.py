"""The cost of 10 and 100 times as many series in Silver, Gold, training, inference and streaming; and mlforecast.

Each stage runs its real job on a lake or stack of its own; the ratio is to the same stage with the fewest series. The
cost of streaming is its CPU time, start included. mlforecast is trained on and forecasts the largest number of series,
in memory and without vintages; the ratio is our time, features included, to its time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention

from batch.lake.gold_day_ahead import build_day_ahead
from batch.lake.silver import refine
from benchmarks import feature_job
from benchmarks.inference import infer
from benchmarks.lake import empty_lake
from benchmarks.nixtla import measure_peer
from benchmarks.results import Row
from benchmarks.warehouses import observations, warehouses
from dualcast.adapters.feature_store import apply_definitions, training_frame
from dualcast.adapters.lake import lake_paths, target_column, training_keys
from dualcast.catalogue import UseCase
from dualcast.settings import Settings
from models.inputs import Layout
from models.prediction.model import ForecastModel
from models.prediction.packaging import save_model
from models.training.fitting import Examples, fit_model
from streaming.ingest.sources import open_source

_FEWEST = 10
_TIMES = (1, 10, 100)
_FIRST, _DAYS, _WEEKS = date(2022, 1, 3), 560, 20
_STREAM_FIRST, _STREAMED = datetime(2022, 1, 3, tzinfo=UTC), timedelta(days=7)
_LAST = _FIRST + timedelta(days=_DAYS - 7)


def measure() -> list[Row]:
    """Seconds of each stage for 10, 100 and 1,000 series, and how many times as long as for the fewest."""
    found = {times: _stages(_FEWEST * times) for times in _TIMES}
    most = warehouses(_FEWEST * _TIMES[-1])
    with TemporaryDirectory() as folder:
        peer = measure_peer(most, observations(most, _FIRST, _DAYS), Path(folder))
    ours = found[_TIMES[-1]]
    beside = [
        Row(
            f"mlforecast {peer.version} is trained on {len(most.entities):,} series",
            peer.fit,
            "s",
            _ratio(ours, peer.fit),
        ),
        Row("mlforecast forecasts them", peer.predict, "s", ours["inference"] / peer.predict),
    ]
    batch = [
        Row(f"{stage}, {_FEWEST * times:,} series", seconds, "s", seconds / found[1][stage])
        for times in _TIMES
        for stage, seconds in found[times].items()
    ]
    streamed = {times: _streamed(_FEWEST * times) for times in _TIMES}
    stream = [
        Row(f"streaming, {_FEWEST * times:,} series", seconds, "CPU-s", seconds / streamed[1])
        for times, seconds in streamed.items()
    ]
    return beside + batch + stream


def _ratio(ours: dict[str, float], seconds: float) -> float:
    """The ratio of our time for features and training to that of a peer."""
    return (ours["Gold"] + ours["training"]) / seconds


def _stages(series: int) -> dict[str, float]:
    """Seconds by stage, in a warm Spark session."""
    use_case, seconds = warehouses(series), {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        begin = perf_counter()
        yield
        seconds[name] = perf_counter() - begin

    with empty_lake() as (spark, settings):
        _write_bronze(spark, settings, use_case)
        with stage("Silver"):
            refine(spark, settings, use_case)
        with stage("Gold"):
            build_day_ahead(spark, settings, use_case, [_LAST - timedelta(days=7 * week) for week in range(_WEEKS)])
        apply_definitions(settings, use_case.use_case)
        with stage("training"):
            model = _train(settings, use_case)
        folder = settings.state_dir / "model"
        save_model(model, folder)
        with stage("inference"):
            infer(spark, settings, use_case, folder, [_LAST])
    return seconds


def _streamed(series: int) -> float:
    """CPU seconds of the Flink job for a week of so many bidding zones, start included."""
    with feature_job.zones(series) as (_, settings, use_case):
        one = use_case.model_copy(update={"entities": use_case.entities[:1]})
        observations = open_source(one, None, None).observations(_STREAM_FIRST, _STREAM_FIRST + _STREAMED)
        feature_job.send(settings, feature_job.for_each_zone(settings, use_case, observations))
        rows = int((observations["variable"] == use_case.target).sum()) * series
        with feature_job.job(feature_job.OURS) as job:
            cost = feature_job.catch_up(settings, job, rows)
    return cost.start + cost.cpu


def _train(settings: Settings, use_case: UseCase) -> ForecastModel:
    keys = training_keys(settings, use_case.use_case, "day-ahead")
    frame = training_frame(settings, use_case.use_case, "day-ahead", keys)
    layout = Layout.of(use_case, "day-ahead")
    examples = Examples.of(layout, use_case, frame, target_column("day-ahead"))
    return fit_model(use_case, "day-ahead", layout, examples, os.cpu_count() or 1).model


def _write_bronze(spark: SparkSession, settings: Settings, use_case: UseCase) -> None:
    """All observations as one message, as ``batch.lake.bronze`` writes them; this also starts every Python worker."""
    path = f"{settings.state_dir}/observations.parquet"
    observations(use_case, _FIRST, _DAYS).to_parquet(path, coerce_timestamps="us")
    rows = spark.read.parquet(path).withColumn("ingested_at", F.current_timestamp())
    rows.mapInArrow(lambda batches: batches, rows.schema).write.format("delta").save(lake_paths(settings).bronze)
