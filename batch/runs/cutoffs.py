"""Which curves can be made by now: those whose cutoff has come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from dualcast.catalogue import UseCase


class TooEarlyError(RuntimeError):
    """The cutoff of a delivery day has not come for any entity; the text says when it does."""


def not_due(use_case: UseCase, days: Sequence[date], now: datetime) -> dict[tuple[str, date], str]:
    """(entity_id, delivery_day) -> why its curve cannot be made yet; every day has others that can.

    Raises TooEarlyError for the first day of which no curve can be made.
    """
    early: dict[tuple[str, date], str] = {}
    for day in days:
        cutoffs = {entity.id: use_case.cutoff(entity, day) for entity in use_case.entities}
        if (first := min(cutoffs.values())) > now:
            raise TooEarlyError(
                f"it is {now:%Y-%m-%d %H:%M:%S} UTC: the cutoff of delivery day {day} comes at "
                f"{first:%Y-%m-%d %H:%M} UTC, and its curves may use all that is published until then"
            )
        early |= {(e, day): f"its cutoff comes at {c:%Y-%m-%d %H:%M} UTC" for e, c in cutoffs.items() if c > now}
    return early
