"""Two namespaces on one Kafka, registry, Redis, MLflow, lake and store: neither sees the data of the other."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient
from redis import Redis

from dualcast.adapters.feature_store import OnlineFeatures
from dualcast.adapters.kafka.connection import connection
from dualcast.adapters.kafka.consumer import GroupConsumer
from dualcast.adapters.kafka.offsets import Offsets, delete_group, groups_of
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import published, published_forecasts
from dualcast.adapters.kafka.topics import create_topics
from dualcast.adapters.kafka.wire.decoder import Decoder
from dualcast.adapters.lake import exists, lake_paths
from dualcast.adapters.model_registry import Run, current_version, load, load_last, publish
from dualcast.adapters.store.engine import open_store
from dualcast.adapters.store.forecasts import IssueDay, read_days, save
from dualcast.adapters.store.migrate import migrate
from dualcast.adapters.store.redis_curves import RedisCurves
from dualcast.catalogue import UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.lifecycle.registered_model import CHAMPION
from dualcast.records import FeatureRow, Observation, ObservationBatch, Topic
from dualcast.settings import Settings
from services.access.limits import RateLimits
from services.circuits import Circuits
from tests import services_world as world

pytestmark = [pytest.mark.stack(own=True), pytest.mark.filterwarnings("ignore")]

CURVE = world.day_ahead(date(2022, 1, 14))
BATCH = ObservationBatch("DE", [Observation("load", world.NOW, "PT15M", 1.5, "MW", world.NOW, "test", True)])
MODEL, EXPERIMENT = "model_da_de_load", "de_load"


@pytest.fixture(scope="module")
def namespaces(stack: Settings) -> list[Settings]:
    """The settings of namespaces ``left`` and ``right``, and those without a namespace."""
    found = [stack.model_copy(update={"namespace": name}) for name in ("left", "right", "")]
    for settings in found:
        create_topics(settings)
    return found


def test_each_namespace_has_its_own_topics_and_subjects(namespaces: list[Settings]) -> None:
    with RecordProducer(namespaces[0], "test") as producer:
        producer.send(Topic.OBSERVATIONS, "DE", BATCH, world.NOW)
        producer.send(Topic.FORECASTS_DAY_AHEAD, "DE", CURVE, CURVE.issued_at)
    assert [[ObservationBatch.from_record(r) for r in published(s, Topic.OBSERVATIONS)] for s in namespaces] == [
        [BATCH],
        [],
        [],
    ]
    assert [list(published_forecasts(s, Topic.FORECASTS_DAY_AHEAD)) for s in namespaces] == [[CURVE], [], []]
    subjects = set(SchemaRegistryClient({"url": namespaces[0].registry}).get_subjects())
    assert {f"{p}{topic}-value" for p in ("left.", "right.", "") for topic in Topic} == subjects


def test_consumer_groups_with_one_name_are_separate(namespaces: list[Settings]) -> None:
    for settings in namespaces[:2]:
        with RecordProducer(settings, "test") as producer:
            producer.send(Topic.OBSERVATIONS, "DE", BATCH, world.NOW)
        with GroupConsumer(
            settings, Topic.OBSERVATIONS, Decoder.record, group="reader", from_beginning=True
        ) as consumer:
            assert any(consumer.poll(1.0) for _ in range(30))
            consumer.commit()
    groups = groups_of(AdminClient(connection(namespaces[0])))
    assert {"left.reader", "right.reader"} <= groups
    assert "reader" not in groups
    delete_group(namespaces[0], "left.reader")
    assert [messages_read(settings, f"{settings.namespace}.reader") > 0 for settings in namespaces[:2]] == [False, True]


def test_a_group_that_does_not_exist_can_be_deleted(namespaces: list[Settings]) -> None:
    delete_group(namespaces[0], "nobody")


def test_features_in_the_online_store_are_separate(namespaces: list[Settings], use_case: UseCase) -> None:
    plan = FeaturePlan.of(use_case, "intraday")
    widths = plan.widths(use_case.part("intraday").horizons)
    row = FeatureRow("de_load", "DE", world.NOW, world.NOW, "abc", {n: [1.0] * w for n, w in widths.items()})
    stores = [OnlineFeatures(settings, "de_load") for settings in namespaces]
    stores[0].write([row])
    assert [store.read(["DE"])["DE"] for store in stores] == [row, None, None]


def test_cached_days_and_rate_limits_are_separate(namespaces: list[Settings]) -> None:
    shared = [RedisCurves(settings.redis, settings.names) for settings in namespaces]
    day = IssueDay.of(CURVE)
    shared[0].fill({day: [CURVE]})
    assert [cache.read([day]) for cache in shared] == [{day: [CURVE]}, {}, {}]

    async def allowed() -> list[bool]:
        limits = [RateLimits(s.redis, "1/minute", Circuits(), s.names) for s in (namespaces[0], *namespaces)]
        verdicts = [await limit.hit("desk") for limit in limits]
        for limit in limits:
            await limit.close()
        return [verdict.allowed for verdict in verdicts]

    assert asyncio.run(allowed()) == [True, False, True, True]
    keys = [key.decode() for key in Redis.from_url(namespaces[0].redis).scan_iter("*LIMITS*")]
    assert {key.partition("LIMITS")[0] for key in keys} == {"left:", "right:", ""}


def test_registered_models_and_experiments_are_separate(
    namespaces: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualcast.adapters.model_files.LOADERS", {__name__})
    frame = pd.DataFrame({"x": [1.0]})
    run = Run(EXPERIMENT, "run", {}, {"mape": 1.0}, {}, frame, frame)

    def save_model(folder: Path) -> None:
        folder.mkdir()
        (folder / "value").write_text("7")

    version = publish(namespaces[0], MODEL, run, save_model, __name__)
    namespaces = [replace_state(settings, tmp_path) for settings in namespaces]
    assert [current_version(settings, MODEL) for settings in namespaces] == [version, None, None]
    assert load(namespaces[0], MODEL).name == MODEL
    assert load_last(namespaces[0], MODEL, CHAMPION).version == version
    with pytest.raises(LookupError):
        load_last(namespaces[1], MODEL, CHAMPION)


def test_lake_and_store_are_separate(namespaces: list[Settings], tmp_path: Path) -> None:
    namespaces = [replace_state(settings, tmp_path) for settings in namespaces]
    table = Path(lake_paths(namespaces[0]).forecasts("day-ahead", "de_load"))
    table.mkdir(parents=True)
    assert [exists(lake_paths(settings).forecasts("day-ahead", "de_load")) for settings in namespaces] == [
        True,
        False,
        False,
    ]
    day, engines = IssueDay.of(CURVE), [open_store(settings) for settings in namespaces]
    for engine in engines:
        migrate(engine)
    save(engines[0], [CURVE], world.NOW)
    assert [list(read_days(engine, [day], 5).get(day, ())) for engine in engines] == [[CURVE], [], []]
    for engine in engines:
        engine.dispose()


def messages_read(settings: Settings, group: str) -> int:
    """The number of observations of the namespace that a consumer group has committed."""
    topic = settings.names.topic(Topic.OBSERVATIONS)
    with Offsets.of_group(settings, group) as offsets:
        return offsets.read_before(topic, offsets.ends(topic))


def replace_state(settings: Settings, folder: Path) -> Settings:
    """The same servers with another state folder, whose lake and store are empty."""
    return settings.model_copy(update={"state_dir": folder})


class _Model:
    features = ("x",)

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows


def load_model(folder: Path) -> _Model:
    """The platform's loader of the test's model."""
    assert (folder / "value").read_text() == "7"
    return _Model()


def _load_pyfunc(path: str) -> _Model:
    return load_model(Path(path))
