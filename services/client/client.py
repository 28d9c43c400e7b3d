"""The client: one method for each question, one meaning for each parameter, a pandas frame for each answer."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import pandas as pd

from dualcast.timegrid import iso_duration
from services.client import frames
from services.client.http import Service

if TYPE_CHECKING:
    from dualcast.catalogue import Path_

Feature = float | None | Sequence[float | None]
_PAGE = 500


class Dualcast:
    """Asks da-svc for curves that were made at the cutoff, and id-svc for those that are scored now.

    Addresses and the key come from DUALCAST_DA_SVC, DUALCAST_ID_SVC and DUALCAST_API_KEY where they are not given. A
    service that is away, starts or limits is asked again for ``patience``.

    All methods raise AnswerError where a service answers with a problem, httpx2.TransportError where it stays away,
    and ValueError for a moment without a time zone.
    """

    def __init__(
        self,
        da_svc: str | None = None,
        id_svc: str | None = None,
        *,
        key: str | None = None,
        token: str | None = None,
        use_case: str | None = None,
        patience: timedelta = timedelta(seconds=30),
        timeout: timedelta = timedelta(seconds=10),
    ) -> None:
        headers = _identity(key, token)
        self._da = Service(da_svc or _address("DUALCAST_DA_SVC", 8000), headers, patience, timeout)
        self._id = Service(id_svc or _address("DUALCAST_ID_SVC", 8001), headers, patience, timeout)
        self._use_case = use_case

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._da.close()
        self._id.close()

    def day_ahead(
        self,
        entity_id: str | Sequence[str] | None = None,
        delivery_date: date | None = None,
        *,
        as_of: datetime | None = None,
        horizon: timedelta | None = None,
        include_confidence: bool = True,
    ) -> pd.DataFrame:
        """The curves of a delivery day, or the newest; ``as_of`` those that were the newest then.

        Several entities, or without any all, make one frame: those that have no curve are in ``.attrs["problems"]``.
        """
        wanted = {"delivery_date": delivery_date, **_form(as_of, horizon, include_confidence)}
        return self._curves(self._da, "day-ahead", entity_id, wanted)

    def intraday(
        self,
        entity_id: str | Sequence[str] | None = None,
        *,
        as_of: datetime | None = None,
        horizon: timedelta | None = None,
        include_confidence: bool = True,
        published: bool = False,
    ) -> pd.DataFrame:
        """The coming hours, scored now by id-svc; ``published`` the newest of the topic, by da-svc. Else as above."""
        service = self._da if published else self._id
        return self._curves(service, "intraday", entity_id, _form(as_of, horizon, include_confidence))

    def predict(
        self,
        entity_id: str,
        *,
        path: Path_ = "intraday",
        forecast_date: date | None = None,
        horizon: timedelta | None = None,
        include_confidence: bool = True,
        model_version: str | None = None,
        features: Mapping[str, Feature] | None = None,
    ) -> pd.DataFrame:
        """One curve by a model that is named, or as if some features were others, where None is unknown."""
        body = {
            "entity_id": entity_id,
            "use_case": self._use_case,
            "forecast_date": forecast_date.isoformat() if forecast_date else None,
            "horizon": _iso(horizon),
            "include_confidence": include_confidence,
            "model_version": model_version,
            "features": {name: _listed(value) for name, value in features.items()} if features else None,
        }
        return frames.curves([self._of(path).post("/api/v1/predict", body)])

    def issued(self, path: Path_, entity_id: str, start: datetime, end: datetime) -> pd.DataFrame:
        """All that was issued for the intervals from ``start`` to ``end``, beside what came true, by issue."""
        address = f"/api/v1/forecasts/{path}/{entity_id}/issued"
        wanted = {"from": _utc(start), "to": _utc(end)}
        return frames.curves([curve for page in self._pages(self._da, address, wanted) for curve in page["forecasts"]])

    def history(self, entity_id: str, start: datetime, end: datetime) -> pd.DataFrame:
        """What came true from ``start`` to ``end``, and the forecast of others that ours is compared with."""
        wanted = {"from": _utc(start), "to": _utc(end), "use_case": self._use_case}
        return frames.history(self._da.get(f"/api/v1/history/{entity_id}", **wanted))

    def stream(self, path: Path_ = "intraday", entity_id: str | Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """New curves as they are published, for as long as you listen, beginning with the newest of each entity.

        A connection that breaks is made anew, and what came before the break is not repeated.
        """
        wanted = {"path": path, "entity_id": entity_id, "use_case": self._use_case}
        newest: dict[str, Any] = {}
        for curve in self._of(path).events("/api/v1/events", **wanted):
            if newest.get(curve["entity_id"]) != curve:
                newest[curve["entity_id"]] = curve
                yield frames.curves([curve])

    def status(self, path: Path_ = "day-ahead") -> dict[str, Any]:
        """What a service says of itself: its clock, entities, models, errors so far and feeds."""
        answer: dict[str, Any] = self._of(path).get("/api/v1/status", use_case=self._use_case)
        return answer

    def _of(self, path: Path_) -> Service:
        return self._da if path == "day-ahead" else self._id

    def _curves(
        self, service: Service, path: Path_, entity_id: str | Sequence[str] | None, wanted: Mapping[str, Any]
    ) -> pd.DataFrame:
        address = f"/api/v1/forecasts/{path}"
        if isinstance(entity_id, str):
            return frames.curves([service.get(f"{address}/{entity_id}", use_case=self._use_case, **wanted)])
        pages = list(self._pages(service, address, {"entity_id": entity_id, **wanted}))
        frame = frames.curves([curve for page in pages for curve in page["forecasts"]])
        frame.attrs["problems"] = [problem for page in pages for problem in page["problems"]]
        return frame

    def _pages(self, service: Service, address: str, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = service.get(address, use_case=self._use_case, limit=_PAGE, cursor=cursor, **wanted)
            yield page
            cursor = page["next_cursor"]
            if cursor is None:
                return


def _address(setting: str, port: int) -> str:
    return os.environ.get(setting) or f"http://127.0.0.1:{port}"


def _identity(key: str | None, token: str | None) -> dict[str, str]:
    if token is not None:
        return {"Authorization": f"Bearer {token}"}
    found = key or os.environ.get("DUALCAST_API_KEY")
    return {"X-API-Key": found} if found else {}


def _form(as_of: datetime | None, horizon: timedelta | None, include_confidence: bool) -> dict[str, Any]:
    return {
        "as_of": None if as_of is None else _utc(as_of),
        "horizon": _iso(horizon),
        "include_confidence": None if include_confidence else False,
    }


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.isoformat()


def _iso(span: timedelta | None) -> str | None:
    return None if span is None else iso_duration(span)


def _listed(value: Feature) -> float | list[float | None] | None:
    return list(value) if isinstance(value, Sequence) else value
