"""Which curves can be made now: those whose cutoff has passed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from dualcast.catalogue import UseCase


class TooEarlyError(RuntimeError):
    """No entity's cutoff of a delivery day has passed. The message names the first cutoff."""


def before_cutoff(use_case: UseCase, days: Sequence[date], now: datetime) -> dict[tuple[str, date], str]:
    """The curves whose cutoff has not passed, by entity_id and delivery_day, with the reason.

    Raises TooEarlyError for the first day on which no cutoff has passed.
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
