"""Read the state of the replay and the newest curves from da-svc with the client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import httpx2

from dualcast_client import AnswerError, Api, UnavailableError
from dualcast_client.answers import Curve, DayAheadStatus, EntityStatus

_TIMEOUT = timedelta(seconds=5)


@dataclass(frozen=True)
class Snapshot:
    """The status and the newest curves at one time; ``curves`` is keyed by entity and path."""

    status: DayAheadStatus
    curves: Mapping[tuple[str, str], Curve]

    def medians(self, entity_id: str, path: str) -> Sequence[float]:
        """Return the median of each interval of a curve in time order; empty without a curve."""
        curve = self.curves.get((entity_id, path))
        return [point["quantiles"]["0.5"] for point in curve["points"] if "0.5" in point["quantiles"]] if curve else []


class DemoFeed:
    """Reads snapshots of one use case. The address may change between calls of ``read``."""

    def __init__(self, use_case: str) -> None:
        self._use_case = use_case
        self._address = ""
        self._api: Api | None = None

    def read(self, address: str) -> Snapshot | None:
        """Return the current snapshot, or None while the service is unavailable."""
        try:
            api = self._api_at(address)
            status = api.status()
            found: dict[tuple[str, str], Curve] = {}
            for entity in status["entities"]:
                found |= _curves(api, entity)
        except (AnswerError, UnavailableError, httpx2.InvalidURL, ValueError, KeyError):
            return None
        return Snapshot(status, found)

    def _api_at(self, address: str) -> Api:
        if self._api is None or address != self._address:
            if self._api is not None:
                self._api.close()
            self._api = Api(address, use_case=self._use_case, patience=timedelta(0), timeout=_TIMEOUT)
            self._address = address
        return self._api


def _curves(api: Api, entity: EntityStatus) -> dict[tuple[str, str], Curve]:
    """Return the newest curve of each path, except curves that the service cannot return now."""
    entity_id, found = entity["entity_id"], {}
    try:
        if entity["day_ahead"]:
            day = date.fromisoformat(entity["day_ahead"][-1]["delivery_date"])
            found[entity_id, "day-ahead"] = api.day_ahead(entity_id, day)
        if entity["intraday"]:
            found[entity_id, "intraday"] = api.intraday(entity_id, published=True)
    except AnswerError:
        return found
    return found
