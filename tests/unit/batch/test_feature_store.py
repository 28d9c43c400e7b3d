"""Feast: fields of the catalogue, the same configuration in the YAML file, and training rows as of their time."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import yaml
from feast.infra.online_stores.redis import RedisOnlineStore

from dualcast.adapters.feature_store import apply_definitions, redis_connection, repo_config, training_frame
from dualcast.adapters.feature_views import feast_objects
from dualcast.adapters.lake import LakePaths, day_ahead_rows, lake_paths, training_keys
from dualcast.catalogue import UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.settings import Settings
from tests.conftest import ROOT

# ibis, with which Feast reads DuckDB, calls a function that DuckDB has renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path, use_cases=ROOT / "use_cases")


def write_gold(settings: Settings, use_case: UseCase) -> pd.DataFrame:
    """Four intraday rows, of which the third is a revision of the second; returns them."""
    plan = FeaturePlan.of(use_case, "intraday")
    times = pd.to_datetime(["2022-03-01T00:00Z", "2022-03-01T00:15Z", "2022-03-01T00:15Z", "2022-03-01T00:30Z"])
    as_of = pd.to_datetime(["2022-03-01T00:00Z", "2022-03-01T00:15Z", "2022-03-01T02:00Z", "2022-03-01T00:30Z"])
    ahead = [np.where(np.arange(24) == 3, np.nan, np.arange(24.0) + i) for i in range(4)]
    rows = pd.DataFrame(
        {
            "entity_id": "DE",
            "valid_time": times.as_unit("us"),
            "as_of": as_of.as_unit("us"),
            "event_timestamp": as_of.as_unit("us"),
            "actuals": ahead,
            "data_version": "silver@1",
            **{name: np.arange(4.0) for name in plan.per_origin},
            **dict.fromkeys(plan.per_target, pd.Series(ahead)),
        }
    )
    folder = Path(lake_paths(settings).gold_of("intraday", use_case.use_case)) / "month=2022-03"
    folder.mkdir(parents=True)
    rows.to_parquet(folder / "DE.parquet", index=False)
    (folder / "_DE.parquet.unfinished").write_bytes(b"half a file")
    return rows


def test_the_views_have_the_features_of_the_catalogue_and_nothing_else(use_case: UseCase) -> None:
    views = feast_objects(use_case, LakePaths("/lake"))
    intraday = FeaturePlan.of(use_case, "intraday")
    assert [f.name for f in views.offline("day-ahead").features] == FeaturePlan.of(use_case, "day-ahead").names
    assert [f.name for f in views.offline("intraday").features] == intraday.names
    assert [f.name for f in views.online().features] == [*intraday.names, "valid_time", "as_of", "feature_set"]
    assert views.online().join_keys == ["entity_id"]
    assert sorted(views.offline("day-ahead").join_keys) == ["entity_id", "valid_time"]


def test_a_feature_must_not_have_the_name_of_a_field(use_case: UseCase) -> None:
    spec = next(iter(use_case.part("intraday").features.values()))
    features = {**use_case.part("intraday").features, "as_of": spec}
    case = use_case.model_copy(update={"intraday": use_case.part("intraday").model_copy(update={"features": features})})
    with pytest.raises(ValueError, match="as_of"):
        feast_objects(case, LakePaths("/lake"))


def test_the_feast_command_line_has_the_same_configuration() -> None:
    written = yaml.safe_load((ROOT / "feature_repo" / "feature_store.yaml").read_text())
    config = repo_config(Settings(), written["project"])
    assert (ROOT / "feature_repo" / written["registry"]["path"]).resolve().name == f"{Settings().use_case}.db"
    assert written["registry"]["cache_ttl_seconds"] == config.registry.cache_ttl_seconds
    assert written["offline_store"]["type"] == config.offline_store.type
    assert written["online_store"]["connection_string"] == config.online_store.connection_string
    assert written["entity_key_serialization_version"] == config.entity_key_serialization_version


def test_password_and_tls_are_passed_to_redis() -> None:
    connection = redis_connection("rediss://user:p%40ss@redis.example:6380/2")
    assert connection.startswith('redis.example:6380,db=2,username="user",password="p@ss",ssl=true,')


def test_training_rows_are_as_of_their_time(settings: Settings, use_case: UseCase) -> None:
    gold = write_gold(settings, use_case)
    apply_definitions(settings, use_case.use_case)
    keys = training_keys(settings, use_case.use_case, "intraday")
    assert len(keys) == len(gold)
    frame = training_frame(settings, use_case.use_case, "intraday", keys)
    order = keys.merge(gold.reset_index(), on=["valid_time", "event_timestamp"])["index"]
    assert frame["load_newest"].tolist() == order.tolist()
    np.testing.assert_array_equal(np.stack(frame["tso"]), np.stack(gold["tso"][order]))
    before = keys.assign(event_timestamp=keys["event_timestamp"] - pd.Timedelta(microseconds=1))
    known = training_frame(settings, use_case.use_case, "intraday", before)["load_newest"]
    # only the revised row has an older version
    assert known.dropna().tolist() == [1.0]


def test_missing_data_is_reported(settings: Settings, use_case: UseCase) -> None:
    with pytest.raises(FileNotFoundError, match="gold"):
        training_keys(settings, use_case.use_case, "intraday")
    assert day_ahead_rows(settings, use_case.use_case, []).empty


@pytest.mark.parametrize("password", ["a,b=c", 'quo"te', "back\\slash", "snow☃man", "p@ss:w/ord", "true", "7"])
def test_a_password_may_contain_any_character(password: str) -> None:
    connection = redis_connection(f"redis://user:{quote(password, safe='')}@redis.example:6379/0")
    nodes, options = RedisOnlineStore._parse_connection_string(connection)
    assert nodes == [{"host": "redis.example", "port": "6379"}]
    assert (options["username"], options["password"], options["db"]) == ("user", password, 0)
