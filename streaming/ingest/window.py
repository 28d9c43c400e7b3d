"""The default days of a source for a replay."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from dualcast.catalogue import UseCase
from dualcast.observations.frames import SourceError
from dualcast.timegrid import day_bounds, floor, local_date
from streaming.ingest.source import Source

# The clock starts this long before the first cutoff, so that the day's inputs arrive while it runs.
_LEAD = timedelta(hours=1)
# The most days of history from a source without a start, so that a first run stays short.
_LONGEST_HISTORY = 730


class ReplayWindow(BaseModel):
    """The time ranges of history (history_start to start) and of the replay (start to until), UTC."""

    model_config = ConfigDict(frozen=True)

    history_start: AwareDatetime
    start: AwareDatetime
    until: AwareDatetime


def replay_window(source: Source, use_case: UseCase, now: datetime, days: int, first: date | None) -> ReplayWindow:
    """The window of ``days`` delivery days from ``first``; by default the last days that the source covers completely.

    The replay starts an hour before the cutoff of the first day and ends when the last value of the last day is
    published. Raises SourceError if the source does not cover that time.
    """
    if first is None:
        first = _last_whole_day(source, use_case, now) - timedelta(days=days - 1)
    last = first + timedelta(days=days - 1)
    start = floor(min(use_case.cutoff(e, first) for e in use_case.entities) - _LEAD, timedelta(hours=1))
    until = max(_known_by_the_end_of(last, use_case, e.time_zone) for e in use_case.entities)
    _check(source, start, until, first, last)
    return ReplayWindow(history_start=history_start(source, use_case, start), start=start, until=until)


def history_start(source: Source, use_case: UseCase, until: datetime) -> datetime:
    """The start of the history that ends at ``until``."""
    longest = timedelta(days=min(use_case.day_ahead.training_days, _LONGEST_HISTORY))
    return source.extent.first or until - longest


def _last_whole_day(source: Source, use_case: UseCase, now: datetime) -> date:
    end = source.extent.complete_until or now
    zones = {e.time_zone for e in use_case.entities}
    return min(local_date(end, zone) for zone in zones) - timedelta(days=1)


def _known_by_the_end_of(day: date, use_case: UseCase, zone: str) -> datetime:
    end = day_bounds(day, zone)[1]
    last_slot = end - use_case.grid
    return use_case.variables[use_case.target].published.published_at(last_slot, use_case.grid, zone).astimezone(UTC)


def _check(source: Source, start: datetime, until: datetime, first: date, last: date) -> None:
    extent = source.extent
    too_early = extent.first is not None and start <= extent.first
    too_late = extent.last is not None and until > extent.last
    if too_early or too_late:
        raise SourceError(
            f"{source.name} does not hold the delivery days {first} to {last} and a history before them:"
            f" it reaches from {extent.first:%Y-%m-%d %H:%M}Z to {extent.last:%Y-%m-%d %H:%M}Z"
        )
