"""The parameters of both services: each has one name, one form and one meaning, wherever it can be given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Header, Path, Query
from pydantic import AwareDatetime

from dualcast.catalogue import Path_, UseCase
from dualcast.timegrid import Clock, duration
from services.api.application import visible_entities
from services.api.encoding import Shape
from services.http.formats import Format, wanted_format
from services.http.problems import ProblemError

_LONGEST = timedelta(days=31)
_USUAL = timedelta(days=2)
ISO_DURATION = r"^P(\d{1,3}D|(\d{1,3}D)?T(\d{1,4}H|(\d{1,4}H)?\d{1,5}M))$"

UseCaseName = Annotated[str | None, Query(description="the use case; without it, the service's own", max_length=64)]
EntityId = Annotated[str, Path(description="the entity, as the catalogue names it", max_length=64)]
PathName = Annotated[Path_, Path(description="which of the two paths")]
EntityIds = Annotated[
    list[str] | None,
    Query(alias="entity_id", description="entities; may be repeated; without it, all of the use case", max_length=200),
]
DeliveryDate = Annotated[date | None, Query(description="local day that the curve is for; without it, the newest")]
AsOf = Annotated[
    AwareDatetime | None,
    Query(description="what was the newest at this moment; without it, now"),
]
Horizon = Annotated[
    str | None,
    Query(description="ISO 8601: only so much of each curve, from its first interval on", pattern=ISO_DURATION),
]
IncludeConfidence = Annotated[bool, Query(description="whether to answer all quantiles, or the median alone")]
FormatName = Annotated[Format | None, Query(alias="format", description="without it, the Accept header decides")]
Accept = Annotated[str | None, Header(include_in_schema=False)]
IfNoneMatch = Annotated[str | None, Header(description="an ETag: 304 where the answer would be the same")]
From = Annotated[
    AwareDatetime | None, Query(alias="from", description="first interval, by its start; two days ago, unless told")
]
To = Annotated[
    AwareDatetime | None,
    Query(description="end of the intervals; in two days, unless told; at most 31 days after 'from'"),
]
Limit = Annotated[int, Query(description="how many at most in one answer", ge=1, le=500)]
Cursor = Annotated[
    str | None, Query(description="`next_cursor` of the answer before, to go on behind it", max_length=64)
]


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """How the asker wants curves."""

    horizon: timedelta | None
    confidence: bool
    format: Format

    def shape(self, resolution: timedelta) -> Shape:
        """The same for curves of a resolution. Raises ProblemError 422 where nothing would be left."""
        return Shape(self.format, points_within(self.horizon, resolution), self.confidence)


@dataclass(frozen=True, slots=True)
class Page:
    """How much of a long answer is wanted, behind which cursor."""

    limit: int
    cursor: str | None

    def of(self, use_case: UseCase, entity_ids: list[str] | None) -> tuple[list[str], str | None]:
        """The entities of this page in the order of asking, which may be unknown ones, and the next page's cursor."""
        wanted = list(dict.fromkeys(entity_ids)) if entity_ids else [entity.id for entity in visible_entities(use_case)]
        if self.cursor is not None:
            if self.cursor not in wanted:
                raise ProblemError(422, "invalid-request", "cursor: not one of this question")
            wanted = wanted[wanted.index(self.cursor) + 1 :]
        page = wanted[: self.limit]
        return page, page[-1] if len(wanted) > self.limit else None


@dataclass(frozen=True, slots=True)
class Window:
    """Which intervals are wanted, by their starts; None where that is not said."""

    first: datetime | None
    end: datetime | None

    def bounds(self, clock: Clock) -> tuple[datetime, datetime]:
        """The first moment and the end. Raises ProblemError 422."""
        now = clock.now()
        first, end = self.first or now - _USUAL, self.end or now + _USUAL
        if not timedelta(0) < end - first <= _LONGEST:
            raise ProblemError(422, "invalid-request", "'to' must be after 'from', by at most 31 days")
        return first, end


# These are async, since FastAPI sends other dependencies to a thread, which takes longer than most answers.
async def _form(
    horizon: Horizon = None,
    include_confidence: IncludeConfidence = True,
    format_: FormatName = None,
    accept: Accept = None,
) -> AnswerForm:
    span_ = None if horizon is None else span(horizon)
    return AnswerForm(span_, include_confidence, wanted_format(format_, accept))


async def _page(limit: Limit = 100, cursor: Cursor = None) -> Page:
    return Page(limit, cursor)


async def _window(from_: From = None, to: To = None) -> Window:
    return Window(from_, to)


Form = Annotated[AnswerForm, Depends(_form)]
Paging = Annotated[Page, Depends(_page)]
Within = Annotated[Window, Depends(_window)]


def span(text: str) -> timedelta:
    """An ISO 8601 duration. Raises ProblemError 422."""
    try:
        return duration(text)
    except ValueError as error:
        raise ProblemError(422, "invalid-request", f"horizon: {text[:32]!r} is no ISO 8601 duration") from error


def points_within(horizon: timedelta | None, resolution: timedelta) -> int | None:
    """How many intervals lie within a horizon. Raises ProblemError 422 where it is shorter than one."""
    if horizon is None:
        return None
    if horizon < resolution:
        raise ProblemError(422, "invalid-request", f"horizon: shorter than one interval, which is {resolution}")
    return horizon // resolution
