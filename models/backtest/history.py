"""The file that a backtest replays: validated as in Silver, with every vintage, and its actuals."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from dualcast.adapters.files.observations import FileSource
from dualcast.catalogue import UseCase
from dualcast.observations.actuals import actuals
from dualcast.observations.cleaning import VINTAGE, clean
from dualcast.observations.frames import SourceError
from dualcast.observations.vintages import Vintages
from dualcast.timegrid import MICRO, Grid, day_bounds

_KEY = ["entity_id", *VINTAGE]
_NOTHING_STORED = {
    "variable": "object",
    "valid_time": "datetime64[us, UTC]",
    "published_at": "datetime64[us, UTC]",
    "value": "float64",
}


@dataclass(frozen=True)
class FileHistory:
    """The valid observations of a file, in order of publication.

    arrivals: at their own resolution, as the stream takes them
    on_grid: the same on the use case's grid, as Silver has them
    refused: reason -> number of refused observations; data_version: fingerprint of the file
    """

    arrivals: pd.DataFrame
    on_grid: pd.DataFrame
    refused: dict[str, int]
    notes: tuple[str, ...]
    data_version: str

    def actuals(self, use_case: UseCase) -> pd.DataFrame:
        """The newest vintages: entity_id, valid_time, the target and the reference where there is one."""
        present = set(self.on_grid["variable"])
        wanted = [name for name in (use_case.target, use_case.reference) if name is not None and name in present]
        frames = []
        for entity_id, part in self.on_grid.groupby("entity_id", sort=True):
            entity = use_case.entity(str(entity_id))
            slots = Grid(use_case.grid, entity.time_zone).numbers(pd.DatetimeIndex(part["valid_time"]))
            vintages = {name: Vintages.of_frame(part, name, slots) for name in wanted}
            frames.append(actuals(use_case, entity, vintages, use_case.grid).assign(entity_id=entity.id))
        return pd.concat(frames, ignore_index=True)

    def check_window(self, use_case: UseCase, first: date, last: date) -> None:
        """Raise SourceError where the file does not cover a window."""
        target = self.on_grid[self.on_grid["variable"] == use_case.target]
        if target.empty:
            raise SourceError(f"the file has no valid value of {use_case.target}, which is to be forecast")
        begin, end = target["valid_time"].min(), target["valid_time"].max() + use_case.grid
        zone = use_case.entities[0].time_zone
        if day_bounds(first, zone)[0] <= begin or day_bounds(last, zone)[1] > end:
            raise SourceError(
                f"the window {first} to {last} lies outside the file, whose {use_case.target} is from"
                f" {begin:%Y-%m-%d %H:%M}Z to {end:%Y-%m-%d %H:%M}Z; training needs history before the window"
            )


def read_history(path: Path, use_case: UseCase) -> FileHistory:
    """Read and validate a file as the use case's ``replay`` maps it. Raises SourceError."""
    source = FileSource(path, use_case, use_case.replay)
    first, last = source.extent.first, source.extent.last
    assert first is not None
    assert last is not None
    came = source.observations(first, last + MICRO).reset_index(drop=True)
    arrived = came.assign(partition=0, offset=came.index, position=0)
    stored = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in _NOTHING_STORED.items()})
    # validated as of the end of the file: nothing in it is in the future
    judged = pd.concat([clean(use_case, part, stored, (), last) for _, part in arrived.groupby("entity_id", sort=True)])
    bad = judged[judged["reason"] != ""]
    refused = pd.MultiIndex.from_frame(bad[_KEY])
    on_grid = judged.loc[judged["reason"] == "", [*_KEY, "value"]]
    return FileHistory(
        arrivals=came[~pd.MultiIndex.from_frame(came[_KEY]).isin(refused)],
        on_grid=on_grid.sort_values(["published_at", "variable", "valid_time"], kind="stable", ignore_index=True),
        refused={str(reason): int(count) for reason, count in bad["reason"].value_counts().items()},
        notes=tuple(source.notes),
        data_version=f"file@{_sha256(path)[:12]}",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
