"""What the models of the catalogue share: a strict base, errors, and the types of their fields."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from dualcast.timegrid import duration, iso_duration

Duration = Annotated[
    timedelta, BeforeValidator(lambda v: duration(v) if isinstance(v, str) else v), PlainSerializer(iso_duration)
]


class CatalogueError(ValueError):
    """A use case file is wrong. The text names the file, the line and the key."""


class NoSuchPathError(LookupError):
    """A use case is not forecast on the path that was asked for."""


class Strict(BaseModel):
    """A frozen model that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
