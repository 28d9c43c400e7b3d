"""Feast: training rows from Gold (DuckDB), and the newest intraday row of each entity in Redis.

Online rows use the online store's batch calls, which take less than a millisecond and need no registry, while those of
FeatureStore take tens of milliseconds; ``get_online_features`` reads the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
from feast import FeatureStore, RepoConfig
from feast.errors import FeatureViewNotFoundException
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Value
from feast.repo_config import RegistryConfig

from dualcast.adapters.feature_views import FeastObjects, feast_objects
from dualcast.adapters.lake import lake_paths
from dualcast.catalogue import Path_, UseCase, load_use_case
from dualcast.features.plan import FeaturePlan
from dualcast.records import FeatureRow
from dualcast.settings import Settings
from dualcast.timegrid import from_micros, micros

_REGISTRY_AGE_SECONDS = 60
_REDIS_TIMEOUT_SECONDS = 5
_DUCKDB = {"type": "duckdb"}
# Used where only the online store is needed: importing DuckDB takes half a second and 25 MB.
_NEVER_ASKED = {"type": "remote", "host": "none"}
_KEYS = ["entity_id", "valid_time", "event_timestamp"]


class FeatureStoreError(RuntimeError):
    """The feature store lacks a definition. The message names the command to run."""


def repo_config(
    settings: Settings,
    use_case: str,
    redis_timeout_seconds: float = _REDIS_TIMEOUT_SECONDS,
    offline_store: Mapping[str, str] = _DUCKDB,
) -> RepoConfig:
    """The configuration of ``feature_repo/feature_store.yaml`` from the settings, one project per use case."""
    project = settings.names.feast_project(use_case)
    return RepoConfig(
        project=project,
        provider="local",
        registry=RegistryConfig(
            path=f"{settings.feast_registry_dir}/{project}.db", cache_ttl_seconds=_REGISTRY_AGE_SECONDS
        ),
        offline_store=dict(offline_store),
        online_store={"type": "redis", "connection_string": redis_connection(settings.redis, redis_timeout_seconds)},
        entity_key_serialization_version=3,
    )


def redis_connection(url: str, timeout_seconds: float = _REDIS_TIMEOUT_SECONDS) -> str:
    """A Redis URL as Feast writes it, with timeouts for connections and replies.

    >>> redis_connection("redis://127.0.0.1:6379/0")
    '127.0.0.1:6379,db=0,socket_timeout=5,socket_connect_timeout=5'
    """
    parts = urlsplit(url)
    options = {"db": parts.path.strip("/") or "0"}
    for name, secret in (("username", parts.username), ("password", parts.password)):
        if secret:
            # Feast divides the text at commas before it reads the values as JSON
            options[name] = json.dumps(unquote(secret)).replace(",", "\\u002c")
    if parts.scheme == "rediss":
        options["ssl"] = "true"
    options |= dict.fromkeys(("socket_timeout", "socket_connect_timeout"), str(timeout_seconds))
    return ",".join([f"{parts.hostname}:{parts.port or 6379}", *(f"{k}={v}" for k, v in options.items())])


def open_store(settings: Settings, use_case: str) -> FeatureStore:
    """The Feast store of a use case's project."""
    if "://" not in settings.feast_registry_dir:
        Path(settings.feast_registry_dir).mkdir(parents=True, exist_ok=True)
    return FeatureStore(config=repo_config(settings, use_case))


def apply_definitions(settings: Settings, use_case: str) -> None:
    """Register the views that the catalogue describes, as ``feast apply`` does."""
    open_store(settings, use_case).apply(_objects(settings, use_case).all())


def training_frame(settings: Settings, use_case: str, path: Path_, keys: pd.DataFrame) -> pd.DataFrame:
    """The features of some rows, as known at each row's time.

    ``keys`` has entity_id, valid_time and event_timestamp (UTC; a row sees features as of then or earlier) and may
    have more columns, such as actuals: see ``lake.training_keys``. Returns the keys' columns and the features, in the
    order of the keys: floats, or arrays of (horizons,) for intraday features per target; NaN or None where there is no
    row.
    Raises FeatureStoreError where the project has not been applied.
    """
    wanted = FeaturePlan.of(_catalogued(settings, use_case), path).names
    store = open_store(settings, use_case)
    view = _objects(settings, use_case).offline(path).name
    numbered = keys[_KEYS].assign(row_number=range(len(keys)))
    try:
        job = store.get_historical_features(numbered, features=[f"{view}:{name}" for name in wanted])
    except FeatureViewNotFoundException as error:
        raise FeatureStoreError(
            f"Feast project {use_case!r} has no view {view!r}: run `dualcast run history` first"
        ) from error
    found = job.to_df().set_index("row_number").loc[range(len(keys)), wanted]
    return pd.concat([keys.reset_index(drop=True), found.reset_index(drop=True)], axis=1)


class OnlineFeatures:
    """The newest intraday row of each entity, in Redis.

    A row replaces a stored one only where its as_of is newer, so writing twice, or an old row late, changes nothing.
    Both methods raise redis.RedisError where Redis does not reply within ``timeout_seconds``. Safe to share between
    threads.
    """

    def __init__(self, settings: Settings, use_case: str, timeout_seconds: float = _REDIS_TIMEOUT_SECONDS) -> None:
        self._use_case = use_case
        self._config = repo_config(settings, use_case, timeout_seconds, _NEVER_ASKED)
        self._view = _objects(settings, use_case).online()
        self._names = [field.name for field in self._view.features]
        plan = FeaturePlan.of(_catalogued(settings, use_case), "intraday")
        self._per_origin, self._per_target = plan.per_origin, plan.per_target
        self._store = RedisOnlineStore()

    def write(self, rows: Sequence[FeatureRow]) -> None:
        """Store rows; of several rows of an entity, the newest. Raises KeyError where a feature is missing."""
        data = [(_entity_key(row.entity_id), self._values(row), row.as_of, None) for row in rows]
        self._store.online_write_batch(self._config, self._view, data, progress=None)

    def read(self, entity_ids: Sequence[str]) -> dict[str, FeatureRow | None]:
        """The stored row of each entity; None where there is none or it lacks one of the current features."""
        keys = [_entity_key(entity_id) for entity_id in entity_ids]
        # the store appends to the list
        found = self._store.online_read(self._config, self._view, keys, list(self._names))
        return {e: self._row(e, values) for e, (_, values) in zip(entity_ids, found, strict=True)}

    def _values(self, row: FeatureRow) -> dict[str, Value]:
        return {
            "valid_time": Value(int64_val=micros(row.valid_time)),
            "as_of": Value(int64_val=micros(row.as_of)),
            "feature_set": Value(string_val=row.feature_set),
            **{n: Value(double_val=row.features[n][0]) for n in self._per_origin},
            **{n: Value(double_list_val=DoubleList(val=row.features[n])) for n in self._per_target},
        }

    def _row(self, entity_id: str, values: dict[str, Value] | None) -> FeatureRow | None:
        if values is None or any(values[name].WhichOneof("val") is None for name in self._names):
            return None
        return FeatureRow(
            self._use_case,
            entity_id,
            from_micros(values["valid_time"].int64_val),
            from_micros(values["as_of"].int64_val),
            values["feature_set"].string_val,
            {n: [values[n].double_val] for n in self._per_origin}
            | {n: list(values[n].double_list_val.val) for n in self._per_target},
        )


def _entity_key(entity_id: str) -> EntityKey:
    return EntityKey(join_keys=["entity_id"], entity_values=[Value(string_val=entity_id)])


def _catalogued(settings: Settings, use_case: str) -> UseCase:
    return load_use_case(use_case, settings.use_cases)


def _objects(settings: Settings, use_case: str) -> FeastObjects:
    return feast_objects(_catalogued(settings, use_case), lake_paths(settings))
