"""The names of the fallbacks, and how a published curve names the one that made it."""

from __future__ import annotations

from collections.abc import Iterable

DEGRADED_INPUTS = "degraded_inputs"
LAST_STORED = "last_stored"
PREVIOUS_VERSION = "previous_version"
SHIFTED_DAY_AHEAD = "shifted_day_ahead"
_PREFIX = "fallback: "


def fallback_reason(fallback: str) -> str:
    """The entry of ``degraded_reasons`` that names a fallback.

    >>> fallback_reason(LAST_STORED)
    'fallback: last_stored'
    """
    return f"{_PREFIX}{fallback}"


def fallback_of(degraded_reasons: Iterable[str]) -> str | None:
    """The fallback that ``degraded_reasons`` name, if any.

    >>> fallback_of(["stale_input:load", "fallback: last_stored"])
    'last_stored'
    """
    return next((r.removeprefix(_PREFIX) for r in degraded_reasons if r.startswith(_PREFIX)), None)


def without_fallback(degraded_reasons: Iterable[str]) -> list[str]:
    """The reasons that do not name a fallback."""
    return [reason for reason in degraded_reasons if not reason.startswith(_PREFIX)]
