"""The origin of observations: columns of a file, or series of an external source."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from dualcast.catalogue.base import Duration, Strict


class ReplayMapping(Strict):
    """How columns of a CSV or Parquet file become observations."""

    shape: Literal["wide", "long"] = "wide"
    time_column: str = Field("valid_time", description="column or index with the start of the interval")
    time_zone: str = Field("UTC", description="zone of times without one")
    entity_id: str | None = Field(None, description="the entity of every row, where the file has one entity")
    entity_column: str | None = None
    columns: dict[str, str] = Field({}, description="wide: column -> variable")
    optional: frozenset[str] = Field(frozenset(), description="wide: columns that a file may lack")
    variable_column: str = Field("variable", description="long: the column that names the variable")
    value_column: str = Field("value", description="long: the column with the value")
    published_column: str | None = Field(None, description="column with published_at; without it the rules apply")
    resolution: Duration | None = Field(None, description="without it, the most frequent step of the file")
    source: str = "file"

    @model_validator(mode="after")
    def _optional_is_mapped(self) -> Self:
        unmapped = sorted(self.optional - set(self.columns))
        if unmapped:
            raise ValueError(f"'optional' names {', '.join(unmapped)}, which 'columns' does not")
        return self


class SourceSeries(Strict):
    """One series of an external source: its variable, unit and resolution, and the query that requests it."""

    variable: str
    entity: str | None = Field(None, description="none: every entity")
    unit: str = Field(description="the source's name of the unit; checked where the source reports it")
    factor: float = Field(1.0, description="multiplies the source's values to the variable's unit")
    resolution: Duration | None = Field(None, description="length of its intervals; without it, the grid")
    query: dict[str, Any] = Field({}, description="request parameters; see the source's module for its keys")
