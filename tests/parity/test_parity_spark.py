"""The same history through the plain functions and the real Spark jobs: equal numbers, and no later publications."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from batch.engine.session import spark_session
from batch.forecasts.interval_factors import update_interval_factors
from batch.lake.gold_day_ahead import build_day_ahead
from batch.runs.archive import archive_stream
from batch.runs.day_ahead import DayAheadJob
from batch.runs.skew import measure_skew
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.adapters.kafka.wire.feature_messages import FeatureMessages
from dualcast.adapters.lake import factor_rows
from dualcast.adapters.model_registry import load
from dualcast.catalogue import Entity, UseCase
from dualcast.curves.frames import forecast_frame
from dualcast.features.as_of import day_ahead_features, intraday_features
from dualcast.features.intraday.plan import IntradayPlan, feature_set
from dualcast.features.intraday.state import IntradayState, Rows
from dualcast.features.plan import FeaturePlan
from dualcast.lifecycle.registered_model import model_name
from dualcast.records import FeatureRow, Topic
from dualcast.settings import Settings
from dualcast.steps import Steps
from dualcast.timegrid import Clock
from models.evaluation.actuals import with_actuals
from models.prediction.interval_factors import interval_factors
from models.prediction.intraday import intraday_forecasts
from models.training.train import train
from tests.feature_job import publish
from tests.histories import as_update, history
from tests.unit.models.conftest import small

pytestmark = [
    pytest.mark.stack,
    # ibis, with which Feast reads DuckDB, calls a function that DuckDB has renamed
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

# both sides of a clock change
DAYS = [date(2022, 3, 26), date(2022, 3, 27), date(2022, 3, 28)]
UNTIL = datetime(2022, 3, 27, 12, tzinfo=UTC)
STREAMED_SINCE = UNTIL - timedelta(days=12)


@pytest.fixture(scope="module")
def observations(use_case: UseCase, entity: Entity) -> pd.DataFrame:
    return history(use_case, entity, "2022-01-10", 78)


@pytest.fixture(scope="module")
def job(stack: Settings, use_case: UseCase, entity: Entity, observations: pd.DataFrame) -> Iterator[DayAheadJob]:
    """Spark with the history in its lake, and with invalid observations of a meter and of an unknown entity."""
    publish(stack, entity.id, observations, 2000)
    broken = observations.tail(3).assign(
        value=[-1.0, float("nan"), 1e9], published_at=observations["published_at"].max()
    )
    publish(stack, entity.id, broken, 3)
    publish(stack, "stranger", observations.head(5), 5)
    spark = spark_session(stack)
    job = DayAheadJob(spark, stack, use_case, Steps(Console(stderr=True)))
    job.history(UNTIL)
    yield job
    spark.stop()


def gold(settings: Settings, path: str) -> pd.DataFrame:
    """The rows of a Gold table, sorted."""
    return pd.read_parquet(Path(settings.lake_uri) / "gold" / path).sort_values(["entity_id", "valid_time"])


def test_gold_day_ahead_equals_the_plain_function(
    job: DayAheadJob, use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    plain = day_ahead_features(use_case, entity, observations, DAYS)
    spark = gold(job.settings, f"day_ahead/use_case={use_case.use_case}")
    spark = spark[spark["delivery_day"].isin(DAYS)].reset_index(drop=True)
    assert len(plain) == 24 + 23 + 24
    for name in ["valid_time", "cutoff", "newest_input_at", *FeaturePlan.of(use_case, "day-ahead").names]:
        np.testing.assert_array_equal(spark[name].to_numpy(), plain[name].to_numpy(), err_msg=name)


def test_refused_observations_are_quarantined_with_their_reason(job: DayAheadJob) -> None:
    refused = pd.read_parquet(Path(job.settings.lake_uri) / "quarantine")
    assert {"unknown_entity", "not_finite", "out_of_bounds"} <= set(refused["reason"])


def test_a_repeated_run_changes_nothing(job: DayAheadJob, use_case: UseCase) -> None:
    before = gold(job.settings, f"day_ahead/use_case={use_case.use_case}")
    job.history(UNTIL)
    after = gold(job.settings, f"day_ahead/use_case={use_case.use_case}")
    pd.testing.assert_frame_equal(before.reset_index(drop=True), after.reset_index(drop=True), check_exact=True)


def test_gold_intraday_contains_streamed_rows_with_actuals(
    job: DayAheadJob, use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    plan = FeaturePlan.of(use_case, "intraday")
    plain = intraday_features(use_case, entity, observations, STREAMED_SINCE)
    with RecordProducer(job.settings, "test") as producer:
        for row in plain.to_dict("records"):
            cells = {name: np.atleast_1d(row[name]).tolist() for name in plan.names}
            times = row["valid_time"].to_pydatetime(), row["as_of"].to_pydatetime()
            record = FeatureRow(use_case.use_case, entity.id, *times, feature_set(use_case), cells)
            producer.send(Topic.FEATURES_INTRADAY, entity.id, record, times[1])
    archive_stream(job)
    spark = gold(job.settings, f"intraday/use_case={use_case.use_case}")
    assert len(spark) == len(plain)
    for name in plan.per_origin:
        np.testing.assert_array_equal(spark[name].to_numpy(), plain[name].to_numpy(), err_msg=name)
    for name in plan.per_target:
        np.testing.assert_array_equal(np.stack(spark[name]), np.stack(plain[name]), err_msg=name)
    target = observations[observations["variable"] == use_case.target].set_index("valid_time")["value"]
    first = spark.iloc[0]
    assert first["actuals"][0] == target[first["valid_time"]]


def test_interval_factors_of_the_archive_equal_those_of_the_plain_functions(
    job: DayAheadJob, use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    quick = small(use_case)
    train(job.settings, quick, "intraday", UNTIL, job.steps)
    model = load(job.settings, model_name(use_case.use_case, "intraday"))
    rows = gold(job.settings, f"intraday/use_case={use_case.use_case}")
    hourly = rows[(rows["valid_time"] <= UNTIL) & (rows["valid_time"].dt.minute == 0)]
    curves = list(intraday_forecasts(model, use_case, hourly, "test"))
    # on the first day, day-ahead curves were used as the fallback
    wrong = [replace(c, model_name="model_da", points=[replace(p, values=[1.0] * 3) for p in c.points]) for c in curves]
    with RecordProducer(job.settings, "test") as producer:
        for curve in [*wrong[:24], *curves[24:]]:
            producer.send(Topic.FORECASTS_INTRADAY, entity.id, curve, curve.issued_at)
    settings = job.settings.model_copy(update={"clock": Clock(start=UNTIL, until=UNTIL)})
    archive_stream(DayAheadJob(job.spark, settings, use_case, job.steps))

    midnight = datetime(2022, 3, 26, 23, tzinfo=UTC)
    points = forecast_frame([curve for curve in curves[24:] if curve.issued_at < midnight])
    past = with_actuals(use_case, "intraday", points, observations.assign(entity_id=entity.id), midnight)
    scale = str(use_case.part("intraday").scale)
    past = past.merge(hourly.rename(columns={"event_timestamp": "issued_at"})[["entity_id", "issued_at", scale]])
    expected = interval_factors(model, use_case, past, [(entity.id, midnight)])[entity.id, midnight]
    assert (expected[:, [0, 2]] != 1).all()
    found = factor_rows(settings, use_case.use_case, midnight, model.version)
    np.testing.assert_array_equal(found["factor"].to_numpy().reshape(expected.shape), expected)
    assert update_interval_factors(job.spark, settings, use_case) == 0, "the factors exist already"


def test_skew_counts_only_the_changed_row(
    job: DayAheadJob, use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    day = DAYS[-1]
    before = measure_skew(job.spark, job.settings, use_case, day)
    assert (before.rows, before.unequal_rows) == (96, 0)
    origin = pd.Timestamp("2022-03-28T10:00Z")
    plain = intraday_features(use_case, entity, observations, UNTIL).set_index("valid_time").loc[origin]
    cells = {n: np.atleast_1d(plain[n]) for n in FeaturePlan.of(use_case, "intraday").names}
    wrong = cells | {"load_newest": 1.5 * cells["load_newest"], "load_back_2": np.array([np.nan])}
    as_of = (plain["as_of"] + pd.Timedelta(seconds=1)).to_pydatetime()
    row = FeatureRow(
        use_case.use_case,
        entity.id,
        origin.to_pydatetime(),
        as_of,
        feature_set(use_case),
        {n: v.tolist() for n, v in wrong.items()},
    )
    with RecordProducer(job.settings, "test") as producer:
        producer.send(Topic.FEATURES_INTRADAY, entity.id, row, as_of)
    archive_stream(job)
    after = measure_skew(job.spark, job.settings, use_case, day)
    assert (after.rows, after.unequal_rows) == (97, 1)
    found = {f.feature: f.largest for f in after.features if f.unequal}
    assert found == {"load_newest": pytest.approx(0.5), "load_back_2": np.inf}


def test_corrections_after_the_cutoff_change_nothing(
    job: DayAheadJob, use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    before = gold(job.settings, f"day_ahead/use_case={use_case.use_case}")
    cutoff = pd.Timestamp(use_case.cutoff(entity, DAYS[-1]))
    known = observations[observations["published_at"] < cutoff]
    late = known.assign(value=known["value"] * 1.1, published_at=cutoff).tail(4000)
    publish(job.settings, entity.id, late, 2000)
    job.ingest()
    build_day_ahead(job.spark, job.settings, use_case, DAYS)
    after = gold(job.settings, f"day_ahead/use_case={use_case.use_case}")
    names = ["valid_time", "newest_input_at", *FeaturePlan.of(use_case, "day-ahead").names]
    for name in names:
        old, new = (frame.loc[frame["delivery_day"].isin(DAYS), name].to_numpy() for frame in (before, after))
        np.testing.assert_array_equal(new, old, err_msg=name)
    changed = [frame.loc[frame["delivery_day"].isin(DAYS), "actual"].to_numpy() for frame in (before, after)]
    assert not np.array_equal(*changed), "the corrections have arrived"


def test_rows_of_one_backfill_message_are_stored_in_their_months(
    job: DayAheadJob, use_case: UseCase, entity: Entity, observations: pd.DataFrame
) -> None:
    plan = IntradayPlan(use_case, entity)
    parts, _ = IntradayState(plan).apply(as_update(use_case, plan, observations))
    begin, end = (pd.Timestamp(t, tz="UTC").value // 10**9 // plan.features.step for t in ("2022-02-27", "2022-03-03"))
    wanted = np.arange(begin, end)
    widths = plan.features.widths(plan.horizons)
    sent: list[Rows] = [p[slice(*np.searchsorted(p.origin, [begin, end]))] for p in parts]
    with closing(Encoder(job.settings, Topic.FEATURES_INTRADAY)) as codec:
        writer = FeatureMessages(codec, use_case.use_case, entity.id, plan.fingerprint, widths)
        messages = [message for rows in sent for message in writer.of(rows, plan.features.step)]
    with RecordProducer(job.settings, "test") as producer:
        for message in messages:
            producer.send_raw(Topic.FEATURES_INTRADAY, entity.id.encode(), message, UNTIL)
    archive_stream(job)
    months = gold(job.settings, f"intraday/use_case={use_case.use_case}")
    found = months[months["valid_time"] < pd.Timestamp("2022-03-03", tz="UTC")]
    assert len(messages) < len(wanted) / 100
    assert set(found["month"]) == {"2022-02", "2022-03"}
    np.testing.assert_array_equal(found["valid_time"].astype("int64") // 10**6 // plan.features.step, wanted)
    for name in plan.features.names:
        streamed = np.concatenate([rows.features[name] for rows in sent])
        np.testing.assert_array_equal(np.stack([np.atleast_1d(v) for v in found[name]]), streamed, err_msg=name)
