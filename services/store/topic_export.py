"""One file of all published curves of a path, and one of the actuals for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dualcast.catalogue import Path_, UseCase
from dualcast.curves.forecast import Forecast
from dualcast.curves.frames import forecast_frame
from dualcast.observations.actuals import actuals, valid_vintages
from dualcast.observations.columns import Columns

_KEYS = ["entity_id", "issued_at", "valid_time"]
_SUFFIXES = (".parquet", ".csv")


class NothingToExportError(LookupError):
    """There are no records of the use case on the topic."""


def curves_frame(forecasts: Iterable[Forecast], use_case: str) -> pd.DataFrame:
    """All curves of a use case in long form (``forecast_frame``), by entity, time of issue and valid time.

    Of several curves with the same time of issue the last one is used. Raises NothingToExportError.
    """
    curves = [f for f in forecasts if f.use_case == use_case]
    if not curves:
        raise NothingToExportError(f"no curve of {use_case} is on the topic")
    frame = forecast_frame(curves).drop_duplicates(_KEYS, keep="last")
    return frame.sort_values(_KEYS, ignore_index=True)


def actuals_frame(records: Iterable[dict[str, Any]], use_case: UseCase, path: Path_) -> pd.DataFrame:
    """Actuals at the resolution of a path: entity_id, valid_time, the target in its newest vintage, the reference.

    ``records`` are those of ``observations.v1``. The reference is the newest that was published before the interval
    began. Intervals of which a part is unknown are NaN; invalid observations are left out. Raises NothingToExportError.
    """
    wanted = [name for name in (use_case.target, use_case.reference) if name is not None]
    messages: dict[str, list[Columns]] = defaultdict(list)
    for record in records:
        found = [o for o in record["observations"] if o["variable"] in wanted]
        if found:
            messages[record["entity_id"]].append(Columns.from_records(found))
    entities = sorted((e for e in use_case.entities if e.id in messages), key=lambda entity: entity.id)
    if not entities:
        raise NothingToExportError(f"no observation of {use_case.use_case} is on the topic")
    resolution = use_case.part(path).resolution
    frames = [
        actuals(use_case, entity, valid_vintages(use_case, entity, messages[entity.id], wanted), resolution).assign(
            entity_id=entity.id
        )
        for entity in entities
    ]
    return pd.concat(frames, ignore_index=True)


def write(frame: pd.DataFrame, file: Path) -> None:
    """Write Parquet or CSV, by the suffix of the name. Raises ValueError for another suffix."""
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"{file}: the name must end in {' or '.join(_SUFFIXES)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        frame.to_parquet(file, index=False)
    else:
        frame.to_csv(file, index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
