"""The API of both services: one method for each request, answers as parsed JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Self

from dualcast_client.answers import Curve, DayAheadStatus, History, IntradayStatus, Path, Problem
from dualcast_client.http import Service

Feature = float | None | Sequence[float | None]
_PAGE = 500
_MINUTE = timedelta(minutes=1)


class Api:
    """da-svc for curves that were made at the cutoff, and id-svc for curves that are scored on request.

    Addresses and the key default to DUALCAST_DA_SVC, DUALCAST_ID_SVC and DUALCAST_API_KEY. A request that fails
    temporarily is repeated for ``patience``.

    All methods raise AnswerError if a service answers with a problem, UnavailableError if it does not answer,
    and ValueError for a time without a zone or a horizon that is not in whole minutes.
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
        """Close the connections."""
        self._da.close()
        self._id.close()

    def day_ahead(self, entity_id: str, delivery_date: date | None = None, **form: Any) -> Curve:
        """The curve of a delivery day, or the newest; ``form`` as in ``form_of``."""
        return self._curve(self._da, "day-ahead", entity_id, {"delivery_date": delivery_date, **form_of(**form)})

    def day_ahead_of_many(
        self, entity_ids: Sequence[str] | None = None, delivery_date: date | None = None, **form: Any
    ) -> tuple[list[Curve], list[Problem]]:
        """The curves of several entities, default all, and the problems of those that have none."""
        return self._curves(self._da, "day-ahead", entity_ids, {"delivery_date": delivery_date, **form_of(**form)})

    def intraday(self, entity_id: str, *, published: bool = False, **form: Any) -> Curve:
        """The coming hours, scored now by id-svc, or as ``published``, by da-svc."""
        return self._curve(self._da if published else self._id, "intraday", entity_id, form_of(**form))

    def intraday_of_many(
        self, entity_ids: Sequence[str] | None = None, *, published: bool = False, **form: Any
    ) -> tuple[list[Curve], list[Problem]]:
        """The coming hours of several entities, default all, and the problems of those that have none."""
        return self._curves(self._da if published else self._id, "intraday", entity_ids, form_of(**form))

    def predict(
        self,
        entity_id: str,
        *,
        path: Path = "intraday",
        forecast_date: date | None = None,
        horizon: timedelta | None = None,
        include_confidence: bool = True,
        model_version: str | None = None,
        features: Mapping[str, Feature] | None = None,
    ) -> Curve:
        """One curve by a named model, or with the values of some features replaced. None: the value is unknown."""
        body = {
            "entity_id": entity_id,
            "use_case": self._use_case,
            "forecast_date": forecast_date.isoformat() if forecast_date else None,
            "horizon": _iso(horizon),
            "include_confidence": include_confidence,
            "model_version": model_version,
            "features": {name: _listed(value) for name, value in features.items()} if features else None,
        }
        curve: Curve = self._of(path).post("/api/v1/predict", body)
        return curve

    def issued(self, path: Path, entity_id: str, start: datetime, end: datetime) -> list[Curve]:
        """All curves that were issued for the intervals from ``start`` to ``end``, with actuals, by time of issue."""
        address = f"/api/v1/forecasts/{path}/{entity_id}/issued"
        wanted = {"from": _utc(start), "to": _utc(end)}
        return [curve for page in self._pages(self._da, address, wanted) for curve in page["forecasts"]]

    def history(self, entity_id: str, start: datetime, end: datetime) -> History:
        """Actuals and the reference from ``start`` to ``end``."""
        wanted = {"from": _utc(start), "to": _utc(end), "use_case": self._use_case}
        history: History = self._da.get(f"/api/v1/history/{entity_id}", **wanted)
        return history

    def stream(self, path: Path = "intraday", entity_id: str | Sequence[str] | None = None) -> Iterator[Curve]:
        """New curves as they are published, beginning with the newest of each entity.

        A broken connection is opened again; curves that were received before are not repeated.
        """
        wanted = {"path": path, "entity_id": entity_id, "use_case": self._use_case}
        newest: dict[str, Curve] = {}
        for curve in self._of(path).events("/api/v1/events", **wanted):
            if newest.get(curve["entity_id"]) != curve:
                newest[curve["entity_id"]] = curve
                yield curve

    def status(self) -> DayAheadStatus:
        """The state of both paths: clock, entities, newest curves, errors so far and feeds."""
        status: DayAheadStatus = self._da.get("/api/v1/status", use_case=self._use_case)
        return status

    def intraday_status(self) -> IntradayStatus:
        """The state of the intraday path: clock, models, entities and feeds."""
        status: IntradayStatus = self._id.get("/api/v1/status", use_case=self._use_case)
        return status

    def _of(self, path: Path) -> Service:
        return self._da if path == "day-ahead" else self._id

    def _curve(self, service: Service, path: Path, entity_id: str, wanted: Mapping[str, Any]) -> Curve:
        curve: Curve = service.get(f"/api/v1/forecasts/{path}/{entity_id}", use_case=self._use_case, **wanted)
        return curve

    def _curves(
        self, service: Service, path: Path, entity_ids: Sequence[str] | None, wanted: Mapping[str, Any]
    ) -> tuple[list[Curve], list[Problem]]:
        pages = list(self._pages(service, f"/api/v1/forecasts/{path}", {"entity_id": entity_ids, **wanted}))
        curves = [curve for page in pages for curve in page["forecasts"]]
        return curves, [problem for page in pages for problem in page["problems"]]

    def _pages(self, service: Service, address: str, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            page = service.get(address, use_case=self._use_case, limit=_PAGE, cursor=cursor, **wanted)
            yield page
            cursor = page["next_cursor"]
            if cursor is None:
                return


def form_of(
    *, as_of: datetime | None = None, horizon: timedelta | None = None, include_confidence: bool = True
) -> dict[str, Any]:
    """The parameters of a curve: the newest at ``as_of``, its first intervals, all quantiles or only the median."""
    return {
        "as_of": None if as_of is None else _utc(as_of),
        "horizon": _iso(horizon),
        "include_confidence": None if include_confidence else False,
    }


def _address(setting: str, port: int) -> str:
    return os.environ.get(setting) or f"http://127.0.0.1:{port}"


def _identity(key: str | None, token: str | None) -> dict[str, str]:
    if token is not None:
        return {"Authorization": f"Bearer {token}"}
    found = key or os.environ.get("DUALCAST_API_KEY")
    return {"X-API-Key": found} if found else {}


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.isoformat()


def _iso(span: timedelta | None) -> str | None:
    if span is None:
        return None
    if span % _MINUTE:
        raise ValueError(f"a horizon of {span} is not in whole minutes")
    return f"PT{span // _MINUTE}M"


def _listed(value: Feature) -> float | list[float | None] | None:
    return list(value) if isinstance(value, Sequence) else value
