"""The query parameters of both services. Each is defined once, with one name, form and meaning.

They are fields of pydantic models, which FastAPI and the answer cache of da-svc both parse with.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, NamedTuple, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field

from dualcast.catalogue import Path_, UseCase
from dualcast.observations.validation import EARLIEST, LATEST
from dualcast.timegrid import Clock, duration, from_micros
from services.api.encoding import Shape
from services.api.lookup import visible_entities
from services.http.formats import Format, wanted_format
from services.http.problems import ProblemError

_LONGEST_WINDOW = timedelta(days=31)
_DEFAULT_SPAN = timedelta(days=2)
_YEARS = range(from_micros(EARLIEST).year, from_micros(LATEST).year)
_Date = TypeVar("_Date", date, datetime)
ISO_DURATION = r"^P(\d{1,3}D|(\d{1,3}D)?T(\d{1,4}H|(\d{1,4}H)?\d{1,5}M))$"


def _within_bounds(value: _Date) -> _Date:
    """Raises ValueError for a year that no observation can have."""
    if value.year not in _YEARS:
        raise ValueError(f"must be from {_YEARS.start} to {_YEARS.stop - 1}")
    return value


# A moment or a local day of a request, within the bounds of observations.
RequestedMoment = Annotated[AwareDatetime, AfterValidator(_within_bounds)]
RequestedDay = Annotated[date, AfterValidator(_within_bounds)]


class CurveKey(NamedTuple):
    """The parameters that select a published curve. Answers with equal keys differ in their shape only."""

    path: Path_
    use_case: str
    entity_id: str
    delivery_date: date | None
    as_of: datetime | None


class UseCaseQuery(BaseModel):
    """The use case."""

    use_case: str | None = Field(None, description="the use case; default: that of the service", max_length=64)


class FormQuery(UseCaseQuery):
    """The form in which curves are returned."""

    horizon: str | None = Field(
        None, description="ISO 8601 duration: only this part of each curve, from its start", pattern=ISO_DURATION
    )
    include_confidence: bool = Field(True, description="return all quantiles, or only the median")
    format: Format | None = Field(None, description="default: by the Accept header")

    def shape(self, resolution: timedelta, accept: str | None) -> Shape:
        """The shape of curves of a resolution. Raises ProblemError 422 if no interval would be left."""
        horizon = None if self.horizon is None else parse_duration(self.horizon)
        return Shape(wanted_format(self.format, accept), points_within(horizon, resolution), self.include_confidence)


class CurveQuery(FormQuery):
    """A published curve."""

    as_of: RequestedMoment | None = Field(None, description="the newest curve at this moment; default: now")

    def key(self, path: Path_, use_case: str, entity_id: str) -> CurveKey:
        """The key of the curve that the query selects for an entity; ``use_case`` is the default."""
        return CurveKey(path, self.use_case or use_case, entity_id, self.selected_day, self.as_of)

    @property
    def selected_day(self) -> date | None:
        """The delivery day that the query selects, if any."""
        return None


class DayAheadQuery(CurveQuery):
    """A published day-ahead curve."""

    delivery_date: RequestedDay | None = Field(None, description="local day that the curve is for; default: the newest")

    @property
    def selected_day(self) -> date | None:
        """The delivery day that the query selects, if any."""
        return self.delivery_date


class EntitiesQuery(BaseModel):
    """Several entities."""

    entity_id: list[str] | None = Field(
        None, description="entities; may be repeated; default: all of the use case", max_length=200
    )

    def names(self, use_case: UseCase) -> list[str]:
        """The requested entities in order, of which some may be unknown; default: those that the caller may see."""
        if self.entity_id:
            return list(dict.fromkeys(self.entity_id))
        return [entity.id for entity in visible_entities(use_case)]


class PageQuery(BaseModel):
    """A page of a long answer."""

    limit: int = Field(100, description="maximum number of entries in one answer", ge=1, le=500)
    cursor: str | None = Field(None, description="`next_cursor` of the previous page", max_length=64)

    def page(self, names: list[str]) -> tuple[list[str], str | None]:
        """The names on this page, and the cursor of the next page. Raises ProblemError 422."""
        if self.cursor is not None:
            if self.cursor not in names:
                raise ProblemError(422, "invalid-request", "cursor: not one of this request")
            names = names[names.index(self.cursor) + 1 :]
        page = names[: self.limit]
        return page, page[-1] if len(names) > self.limit else None


class WindowQuery(BaseModel):
    """A window of intervals, by their starts."""

    from_: RequestedMoment | None = Field(None, alias="from", description="start of the window; default: two days ago")
    to: RequestedMoment | None = Field(
        None, description="end of the window, at most 31 days after 'from'; default: in two days"
    )

    def bounds(self, clock: Clock) -> tuple[datetime, datetime]:
        """Start (inclusive) and end (exclusive). Raises ProblemError 422."""
        now = clock.now()
        start, end = self.from_ or now - _DEFAULT_SPAN, self.to or now + _DEFAULT_SPAN
        if not timedelta(0) < end - start <= _LONGEST_WINDOW:
            raise ProblemError(422, "invalid-request", "'to' must be after 'from', by at most 31 days")
        return start, end


def parse_duration(text: str) -> timedelta:
    """An ISO 8601 duration. Raises ProblemError 422."""
    try:
        return duration(text)
    except ValueError as error:
        raise ProblemError(422, "invalid-request", f"horizon: {text[:32]!r} is not an ISO 8601 duration") from error


def points_within(horizon: timedelta | None, resolution: timedelta) -> int | None:
    """The number of intervals within a horizon; None without one. Raises ProblemError 422 if there is none."""
    if horizon is None:
        return None
    if horizon < resolution:
        raise ProblemError(422, "invalid-request", f"horizon: shorter than one interval, which is {resolution}")
    return horizon // resolution
