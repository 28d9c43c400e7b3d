"""Variables: series that are measured or forecast by others, their publication rule and plausible values."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from dualcast.catalogue.base import Duration, Strict
from dualcast.timegrid import DAY, interval_end, local_moment


class Publication(Strict):
    """When sources without ``published_at`` publish: some time after the interval, or at a time on an earlier day."""

    delay: Duration | None = None
    days_before: int | None = Field(None, ge=0, le=14)
    at: time | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        by_day = (self.days_before is not None, self.at is not None)
        if by_day != ((True, True) if self.delay is None else (False, False)):
            raise ValueError("give either 'delay' or both 'days_before' and 'at'")
        return self

    def published_at(self, valid_time: datetime, resolution: timedelta, zone: str) -> datetime:
        """When the value for an interval that starts at ``valid_time`` becomes known, UTC."""
        if self.delay is not None:
            return interval_end(valid_time, resolution, zone) + self.delay
        assert self.days_before is not None
        assert self.at is not None
        day = valid_time.astimezone(ZoneInfo(zone)).date() - timedelta(days=self.days_before)
        return local_moment(day, self.at, zone)


class Bounds(Strict):
    """Limits of a plausible observation. Observations outside are quarantined."""

    min: float | None = None
    max: float | None = None
    relative_to: str | None = Field(None, description="variable whose value a week before is the base of ``ratio``")
    ratio: tuple[float, float] | None = None
    longest: Duration = Field(
        DAY, gt=timedelta(0), le=timedelta(days=366), description="the longest interval of a value"
    )
    ahead: Duration = Field(
        timedelta(days=35), ge=timedelta(0), description="how long before its interval a forecast may be published"
    )
    oldest: Duration = Field(
        timedelta(days=7305), gt=timedelta(0), description="values of intervals that began longer ago are refused"
    )


class Variable(Strict):
    """A series that is measured (observed) or forecast by others."""

    unit: str
    kind: Literal["observed", "forecast"]
    published: Publication
    bounds: Bounds = Bounds()
    aggregate: Literal["mean", "sum"] = "mean"
