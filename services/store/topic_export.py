"""Everything that was published, as one file: all curves of a path, and what came true for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualcast.catalogue import Path_, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.observations.columns import Columns
from dualcast.observations.validation import YARDSTICK_AGE, faults, implausible
from dualcast.timegrid import duration, micros

_KEYS = ["entity_id", "issued_at", "valid_time"]
_SUFFIXES = (".parquet", ".csv")


class NothingToExportError(LookupError):
    """There is nothing that the file could hold."""


def curves_frame(forecasts: Iterable[Forecast], use_case: str) -> pd.DataFrame:
    """All curves of a use case in long form (``forecast_frame``), by entity, time of issue and valid time.

    Of several curves with the same time of issue the last one counts. Raises NothingToExportError.
    """
    curves = [f for f in forecasts if f.use_case == use_case]
    if not curves:
        raise NothingToExportError(f"no curve of {use_case} is on the topic")
    frame = forecast_frame(curves).drop_duplicates(_KEYS, keep="last")
    return frame.sort_values(_KEYS, ignore_index=True)


def actuals_frame(records: Iterable[dict[str, Any]], use_case: UseCase, path: Path_) -> pd.DataFrame:
    """What came true, on the grid of a path: entity_id, valid_time, the target in its newest vintage, the reference.

    ``records`` are those of ``observations.v1``. The reference is the newest that was published before the interval
    began. Intervals of which a part is unknown are NaN; what breaks a rule is left out. Raises NothingToExportError.
    """
    wanted = [name for name in (use_case.target, use_case.reference) if name is not None]
    parts = [part for record in records if (part := _sound(record, use_case, wanted)) is not None]
    if not parts:
        raise NothingToExportError(f"no observation of {use_case.use_case} is on the topic")
    vintages = pd.concat(parts, ignore_index=True)
    late = (vintages["variable"] == use_case.reference) & (vintages["published_at"] > vintages["valid_time"])
    newest = vintages[~late].sort_values("published_at", kind="stable")
    newest = newest.drop_duplicates(["entity_id", "variable", "valid_time"], keep="last")
    resolution = use_case.part(path).resolution
    frames = [
        _on_grid(entity_id, mine, use_case, wanted, pd.Timedelta(resolution))
        for entity_id, mine in newest.groupby("entity_id")
    ]
    return pd.concat(frames, ignore_index=True)


def write(frame: pd.DataFrame, file: Path) -> None:
    """Write Parquet or CSV, as the name says. Raises ValueError where it says neither."""
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"{file}: the name must end in {' or '.join(_SUFFIXES)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        frame.to_parquet(file, index=False)
    else:
        frame.to_csv(file, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")


def _sound(record: dict[str, Any], use_case: UseCase, wanted: Sequence[str]) -> pd.DataFrame | None:
    """The sound values of one message, one row for each slot of the use case's grid."""
    found = [o for o in record["observations"] if o["variable"] in wanted]
    if not found or record["entity_id"] not in {entity.id for entity in use_case.entities}:
        return None
    columns = Columns(
        variable=np.array([o["variable"] for o in found], dtype=object),
        valid_time=np.array([micros(o["valid_time"]) for o in found], dtype=np.int64),
        resolution=np.array([o["resolution"] for o in found], dtype=object),
        value=np.array([o["value"] for o in found], dtype=np.float64),
        unit=np.array([o["unit"] for o in found], dtype=object),
        published_at=np.array([micros(o["published_at"]) for o in found], dtype=np.int64),
    )
    sound = np.flatnonzero(faults(use_case, columns) == "")
    spans = np.array([duration(columns.resolution[i]) // use_case.grid for i in sound], dtype=np.int64)
    repeated = np.repeat(sound, spans)
    within = np.arange(len(repeated)) - np.repeat(np.cumsum(spans) - spans, spans)
    grid = int(use_case.grid.total_seconds() * 1e6)
    shares = np.array([use_case.variables[v].aggregate == "sum" for v in columns.variable[repeated]], dtype=bool)
    return pd.DataFrame(
        {
            "entity_id": record["entity_id"],
            "variable": columns.variable[repeated],
            "valid_time": columns.valid_time[repeated] + within * grid,
            "published_at": columns.published_at[repeated],
            "value": columns.value[repeated] / np.where(shares, np.repeat(spans, spans), 1),
        }
    )


def _on_grid(
    entity_id: str, newest: pd.DataFrame, use_case: UseCase, wanted: Sequence[str], resolution: pd.Timedelta
) -> pd.DataFrame:
    fine = newest.pivot_table(index="valid_time", columns="variable", values="value").reindex(columns=list(wanted))
    fine.index = pd.to_datetime(fine.index, unit="us", utc=True)
    fine = fine.asfreq(pd.Timedelta(use_case.grid))
    for name in wanted:
        bounds = use_case.variables[name].bounds
        if bounds.relative_to in fine:
            week_ago = fine[bounds.relative_to].shift(freq=pd.Timedelta(YARDSTICK_AGE)).reindex(fine.index)
            fine[name] = fine[name].mask(implausible(bounds, fine[name].to_numpy(), week_ago.to_numpy()))
    parts = int(resolution / pd.Timedelta(use_case.grid))
    whole = fine.resample(resolution)
    out = pd.DataFrame(
        {
            name: whole[name].sum(min_count=parts)
            if use_case.variables[name].aggregate == "sum"
            else whole[name].mean().where(whole[name].count() == parts)
            for name in wanted
        }
    ).dropna(how="all")
    return out.rename_axis("valid_time").reset_index().assign(entity_id=entity_id)
