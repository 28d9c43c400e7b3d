"""Observations of a CSV or Parquet file, wide or long, by the use case's mapping."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from dualcast.adapters.files.table import column_of, numbers, read_table
from dualcast.adapters.files.times import utc_times
from dualcast.catalogue import ReplayMapping, UseCase, parse_yaml
from dualcast.observations.frames import COLUMNS, TIME_DTYPE, Extent, SourceError, in_canonical_order, published_between
from dualcast.observations.publication import published_at
from dualcast.timegrid import iso_duration

_VINTAGE = ["entity_id", "variable", "valid_time", "published_at"]


def load_mapping(path: Path) -> ReplayMapping:
    """Read a mapping from YAML with the keys of a use case's ``replay``. Raises CatalogueError with file and line."""
    if not path.is_file():
        raise SourceError(f"{path}: there is no such mapping file")
    return parse_yaml(ReplayMapping, path.read_text(encoding="utf-8"), str(path))


class FileSource:
    """All observations of a file."""

    def __init__(self, path: Path, use_case: UseCase, mapping: ReplayMapping) -> None:
        """Read and check the file. Raises SourceError, which describes the mismatch."""
        self.name = f"file {path.name}"
        self.notes: list[str] = []
        try:
            self._observations = self._read(path, use_case, mapping)
        except SourceError as error:
            raise SourceError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        self.extent = _extent(self._observations, use_case)

    def observations(self, start: datetime, end: datetime) -> pd.DataFrame:
        """The observations published in [start, end); see ``Source``."""
        return published_between(self._observations, start, end)

    def _read(self, path: Path, use_case: UseCase, mapping: ReplayMapping) -> pd.DataFrame:
        table, first_line = read_table(path)
        lacking = sorted(mapping.optional - set(table.columns)) if mapping.shape == "wide" else []
        self.notes.extend(
            f"the file has no column {column!r}: {mapping.columns[column]} is unknown" for column in lacking
        )
        read = _read_long if mapping.shape == "long" else _read_wide
        rows = read(table, use_case, mapping, first_line)
        known = rows[rows["value"].notna()]
        if known.empty:
            raise SourceError("no row has a value")
        if len(known) < len(rows):
            self.notes.append(f"{len(rows) - len(known):,} of {len(rows):,} values are missing in the file")
        known = _with_rules(known, use_case, mapping)
        once = known.drop_duplicates(_VINTAGE, keep="last")
        if len(once) < len(known):
            self.notes.append(f"{len(known) - len(once):,} values are duplicates; the last of each is used")
        return in_canonical_order(once[list(COLUMNS)], use_case.target)


def _read_wide(table: pd.DataFrame, use_case: UseCase, mapping: ReplayMapping, first_line: int) -> pd.DataFrame:
    """entity_id, variable, valid_time, value[, published_at]; one row for each cell."""
    columns = mapping.columns or {name: name for name in use_case.variables if name in table.columns}
    if not columns:
        raise SourceError(f"no column is a variable of {use_case.use_case}; the file has: {', '.join(table.columns)}")
    _refuse_unknown(set(columns.values()), use_case)
    columns = {c: v for c, v in columns.items() if c in table.columns or c not in mapping.optional}
    base = _entity_and_times(table, use_case, mapping, first_line, [])
    parts = [
        base.assign(variable=variable, value=numbers(column_of(table, column, variable), first_line))
        for column, variable in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)


def _read_long(table: pd.DataFrame, use_case: UseCase, mapping: ReplayMapping, first_line: int) -> pd.DataFrame:
    """entity_id, variable, valid_time, value[, published_at]; the rows of mapped variables."""
    named = column_of(table, mapping.variable_column, "the variable").astype("string")
    variable = named.map(mapping.columns) if mapping.columns else named
    wanted = variable.notna().to_numpy()
    if not wanted.any():
        raise SourceError(f"no row has a mapped variable; the file has: {', '.join(named.dropna().unique())}")
    _refuse_unknown(set(variable[wanted]), use_case)
    base = _entity_and_times(table, use_case, mapping, first_line, [named])
    value = numbers(column_of(table, mapping.value_column, "the value"), first_line)
    return base.assign(variable=variable.astype(object), value=value)[wanted]


def _entity_and_times(
    table: pd.DataFrame, use_case: UseCase, mapping: ReplayMapping, first_line: int, series: list[pd.Series]
) -> pd.DataFrame:
    entity = _entities(table, use_case, mapping)
    base = pd.DataFrame({"entity_id": entity})
    apart = [*series, entity]
    published = None
    if mapping.published_column is not None:
        published = column_of(table, mapping.published_column, "published_at")
        apart.append(published)
    times = column_of(table, mapping.time_column, "the time")
    base["valid_time"] = utc_times(
        times, mapping.time_zone, series=apart, name=mapping.time_column, first_line=first_line
    )
    if published is not None:
        base["published_at"] = utc_times(
            published,
            mapping.time_zone,
            series=[*series, entity, base["valid_time"]],
            name=str(mapping.published_column),
            first_line=first_line,
        )
    return base


def _entities(table: pd.DataFrame, use_case: UseCase, mapping: ReplayMapping) -> pd.Series:
    known = [entity.id for entity in use_case.entities]
    if mapping.entity_column is not None:
        named = column_of(table, mapping.entity_column, "the entity").astype("string").astype(object)
    elif mapping.entity_id is not None or len(known) == 1:
        named = pd.Series(mapping.entity_id or known[0], index=table.index, dtype=object)
    else:
        raise SourceError("the mapping names neither 'entity_id' nor 'entity_column'")
    foreign = sorted(set(named.dropna()) - set(known))
    if foreign or named.isna().any():
        raise SourceError(
            f"entities {', '.join(foreign) or 'without a name'} are not in {use_case.use_case},"
            f" which has: {', '.join(known)}"
        )
    return named


def _refuse_unknown(variables: set[str], use_case: UseCase) -> None:
    unknown = sorted(variables - set(use_case.variables))
    if unknown:
        raise SourceError(
            f"{', '.join(unknown)}: no such variable in {use_case.use_case}, which has: {', '.join(use_case.variables)}"
        )


def _with_rules(rows: pd.DataFrame, use_case: UseCase, mapping: ReplayMapping) -> pd.DataFrame:
    """Add resolution, unit, published_at where the file has none, source and simulated."""
    return pd.concat(list(_ruled(rows, use_case, mapping)), ignore_index=True)


def _ruled(rows: pd.DataFrame, use_case: UseCase, mapping: ReplayMapping) -> Iterator[pd.DataFrame]:
    for variable, of_variable in rows.groupby("variable", sort=False):
        rule = use_case.variables[variable]
        step = mapping.resolution or _commonest_step(of_variable, variable)
        if step % use_case.grid:
            raise SourceError(
                f"{variable}: steps of {iso_duration(step)} do not fit the grid of {iso_duration(use_case.grid)};"
                " give 'resolution' in the mapping if it is another"
            )
        if step > rule.bounds.longest:
            raise SourceError(
                f"{variable}: steps of {iso_duration(step)} exceed 'longest' of its bounds,"
                f" {iso_duration(rule.bounds.longest)}; give 'resolution' in the mapping if it is another"
            )
        for entity_id, part in of_variable.groupby("entity_id", sort=False):
            zone = use_case.entity(entity_id).time_zone
            ruled = part.assign(resolution=iso_duration(step), unit=rule.unit, source=mapping.source, simulated=False)
            if "published_at" not in part:
                known = published_at(rule.published, pd.DatetimeIndex(part["valid_time"]), step, zone)
                ruled["published_at"] = pd.Series(known, index=part.index).astype(TIME_DTYPE)
            yield ruled


def _commonest_step(rows: pd.DataFrame, variable: str) -> timedelta:
    ordered = rows[["entity_id", "valid_time"]].drop_duplicates().sort_values(["entity_id", "valid_time"])
    steps = ordered.groupby("entity_id")["valid_time"].diff().dropna()
    if steps.empty:
        raise SourceError(f"{variable}: one value has no step; give 'resolution' in the mapping")
    return timedelta(seconds=pd.Timedelta(steps.mode().iloc[0]).total_seconds())


def _extent(observations: pd.DataFrame, use_case: UseCase) -> Extent:
    published = observations["published_at"]
    targets = observations[observations["variable"] == use_case.target]
    complete = None
    if not targets.empty:
        ends = targets["valid_time"] + pd.to_timedelta(targets["resolution"])
        complete = ends.groupby(targets["entity_id"]).max().min().to_pydatetime()
    return Extent(published.iloc[0].to_pydatetime(), published.iloc[-1].to_pydatetime(), complete)
