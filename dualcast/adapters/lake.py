"""The lake: the paths of its tables, and reads of its Parquet tables without Spark.

The Delta tables (bronze, silver) are internal to the batch jobs; other packages read Gold and the stored forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import cast

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from dualcast.catalogue import Path_, path_identifier
from dualcast.settings import Settings

_TARGETS = {"day-ahead": "actual", "intraday": "actuals"}
_KEYS = ["entity_id", "valid_time", "event_timestamp"]
_ISSUED = "issue_date="
_AS_OF = "as_of="
_MOMENT = "%Y%m%dT%H%M%SZ"
_PARQUET = ".parquet"
_CURVE = ["entity_id", "delivery_day"]


@dataclass(frozen=True)
class LakePaths:
    """The URIs of all tables below a root: a local folder or any URI that Spark and fsspec support."""

    root: str

    @property
    def bronze(self) -> str:
        """Delta: every observation, unchanged."""
        return f"{self.root}/bronze/observations"

    @property
    def silver(self) -> str:
        """Delta: valid observations on the grid, every vintage, partitioned by use_case."""
        return f"{self.root}/silver/observations"

    @property
    def quarantine(self) -> str:
        """Parquet: rejected rows with their reasons."""
        return f"{self.root}/quarantine"

    @property
    def checkpoints(self) -> str:
        """Checkpoints of the incremental jobs."""
        return f"{self.root}/_checkpoints"

    @property
    def quality(self) -> str:
        """JSON results of the quality suites."""
        return f"{self.root}/quality"

    def gold(self, path: Path_) -> str:
        """Parquet: the feature rows of one path, in folders use_case=<name>."""
        return f"{self.root}/gold/{path_identifier(path)}"

    def gold_of(self, path: Path_, use_case: str) -> str:
        """The part of Gold that belongs to one use case."""
        return f"{self.gold(path)}/use_case={use_case}"

    def forecasts(self, path: Path_, use_case: str) -> str:
        """Parquet: the forecasts of one path and use case, in folders issue_date=<date>."""
        return f"{self.root}/forecasts/path={path_identifier(path)}/use_case={use_case}"

    def interval_factors(self, use_case: str) -> str:
        """Parquet: factors of the widths of intraday intervals, in as_of=<moment>/<model version>.parquet."""
        return f"{self.root}/interval_factors/path=intraday/use_case={use_case}"

    @property
    def predictions(self) -> str:
        """Parquet: forecasts made on request and their features, in folders use_case=<name>/issue_date=<date>."""
        return f"{self.root}/predictions"


def lake_paths(settings: Settings) -> LakePaths:
    """The paths of the lake of these settings."""
    return LakePaths(settings.lake_uri)


def target_column(path: Path_) -> str:
    """The Gold column of the actuals: ``actual`` (one number) or ``actuals`` (one for each horizon)."""
    return _TARGETS[path]


def training_keys(settings: Settings, use_case: str, path: Path_) -> pd.DataFrame:
    """The keys and actuals of Gold's rows, without the features.

    Returns entity_id, valid_time, event_timestamp (UTC), data_version and ``target_column(path)``, ordered by entity
    and valid_time: filter or sample it, then pass it to ``feature_store.training_frame``.
    Raises FileNotFoundError where Gold is empty.
    """
    columns = [*_KEYS, "data_version", target_column(path)]
    frame = _read(lake_paths(settings).gold_of(path, use_case), columns)
    return frame.sort_values(["entity_id", "valid_time"], ignore_index=True)


def day_ahead_rows(settings: Settings, use_case: str, delivery_days: Sequence[date]) -> pd.DataFrame:
    """Gold's day-ahead rows of some delivery days, ordered by entity and valid_time; empty where there are none."""
    root = lake_paths(settings).gold_of("day-ahead", use_case)
    folders = sorted({f"{root}/delivery_month={day:%Y-%m}" for day in delivery_days})
    wanted = ds.field("delivery_day").isin(list(delivery_days))
    frames = [_read(folder, where=wanted) for folder in folders if exists(folder)]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_KEYS)
    return rows.sort_values(["entity_id", "valid_time"], ignore_index=True)


def gold_curves(settings: Settings, use_case: str, curves: Sequence[tuple[str, date]]) -> pd.DataFrame:
    """Gold's day-ahead rows of some curves, each an entity and a delivery day; empty where there are none.

    Reads only the parts of files between the first and the last entity, which is fast where these are close.
    """
    entities, days = sorted({entity for entity, _ in curves}), {day for _, day in curves}
    root, name = lake_paths(settings).gold_of("day-ahead", use_case), ds.field("entity_id")
    near = ds.field("delivery_day").isin(list(days)) & (name >= entities[0]) & (name <= entities[-1])
    folders = sorted({f"{root}/delivery_month={day:%Y-%m}" for day in days})
    frames = [_read(folder, where=near & name.isin(entities)) for folder in folders if exists(folder)]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_KEYS)
    return rows[pd.MultiIndex.from_frame(rows[_CURVE]).isin(curves)] if len(rows) else rows


def forecast_rows(settings: Settings, use_case: str, path: Path_, issue_date: date | None = None) -> pd.DataFrame:
    """The stored forecasts in long form, of one issue date (UTC) or all; empty where there are none.

    There is a column for each quantile level that a stored curve has; where another curve lacks it, NaN.
    """
    root = lake_paths(settings).forecasts(path, use_case)
    folder = root if issue_date is None else f"{root}/{_ISSUED}{issue_date.isoformat()}"
    if not exists(folder):
        return pd.DataFrame(columns=["entity_id", "issued_at", "valid_time"])
    return _read(folder, unify=True)


def days_of_forecasts(settings: Settings, use_case: str, path: Path_) -> dict[date, str]:
    """The issue dates (UTC) of which there are stored forecasts, each with the URI of its folder."""
    root = lake_paths(settings).forecasts(path, use_case)
    days = [name.removeprefix(_ISSUED) for name in _names(root) if name.startswith(_ISSUED)]
    return {date.fromisoformat(day): f"{root}/{_ISSUED}{day}" for day in sorted(days)}


def factors_file(settings: Settings, use_case: str, as_of: datetime, model_version: str) -> str:
    """The file with the factors of one moment (UTC) and model."""
    folder = f"{lake_paths(settings).interval_factors(use_case)}/{_AS_OF}{as_of.astimezone(UTC):{_MOMENT}}"
    return f"{folder}/{model_version}{_PARQUET}"


def moments_of_factors(settings: Settings, use_case: str) -> list[datetime]:
    """The moments (UTC) at which new factors apply, oldest first."""
    root = lake_paths(settings).interval_factors(use_case)
    moments = [name.removeprefix(_AS_OF) for name in _names(root) if name.startswith(_AS_OF)]
    return sorted(datetime.strptime(moment, _MOMENT).replace(tzinfo=UTC) for moment in moments)


def models_of_factors(settings: Settings, use_case: str, as_of: datetime) -> list[str]:
    """The model versions with factors at a moment."""
    folder = factors_file(settings, use_case, as_of, "").rpartition("/")[0]
    return [name.removesuffix(_PARQUET) for name in _names(folder) if name.endswith(_PARQUET) and not _hidden(name)]


def factor_rows(settings: Settings, use_case: str, as_of: datetime, model_version: str) -> pd.DataFrame:
    """The factors of a model's intraday interval widths from a moment on.

    Returns entity_id, horizon (from 0), level and factor, one row for each. Raises FileNotFoundError.
    """
    return _read(factors_file(settings, use_case, as_of, model_version))


def delete(uri: str) -> None:
    """Delete a folder and all in it."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    filesystem.rm(path, recursive=True)


def exists(uri: str) -> bool:
    """Whether a file or folder exists."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    return bool(filesystem.exists(path))


def _names(uri: str) -> list[str]:
    """The entries of a folder; none where it does not exist. Raises OSError where the listing fails."""
    filesystem, folder = fsspec.core.url_to_fs(uri)
    filesystem.invalidate_cache(folder)
    try:
        return [str(entry).rpartition("/")[2] for entry in filesystem.ls(folder, detail=False)]
    except FileNotFoundError:
        return []


def _read(
    uri: str, columns: list[str] | None = None, where: ds.Expression | None = None, *, unify: bool = False
) -> pd.DataFrame:
    """Parquet files as one frame, with the columns of the first file, or with those of all where ``unify`` is set."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    files = sorted(f for f in filesystem.find(path) if f.endswith(_PARQUET) and not _hidden(f[len(path) :]))
    if not files:
        raise FileNotFoundError(f"{uri} holds no Parquet files; has the job that writes it run?")
    schema = pa.unify_schemas([pq.read_schema(filesystem.open(file)) for file in (files if unify else files[:1])])
    table = ds.dataset(files, schema=schema, filesystem=filesystem, format="parquet").to_table(
        columns=columns, filter=where
    )
    return cast("pd.DataFrame", table.to_pandas())


def _hidden(relative: str) -> bool:
    """Whether a path below a table belongs to an unfinished write."""
    return any(part.startswith(("_", ".")) for part in relative.split("/"))
