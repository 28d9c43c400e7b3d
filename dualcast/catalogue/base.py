"""The base class, errors and field types of the catalogue's models."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from dualcast.timegrid import duration, iso_duration

Duration = Annotated[
    timedelta,
    BeforeValidator(lambda v: v if isinstance(v, timedelta) else duration(str(v))),
    PlainSerializer(iso_duration),
]


class CatalogueError(ValueError):
    """A use case file is invalid. The message names the file, the line and the key."""


class NoSuchPathError(LookupError):
    """A use case has no forecast on the requested path."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
