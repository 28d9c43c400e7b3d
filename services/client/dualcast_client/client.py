"""The client for pandas users: one method for each request, answers as frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from dualcast_client.answers import DayAheadStatus, IntradayStatus, Path
from dualcast_client.api import Api, Feature

if TYPE_CHECKING:
    import pandas as pd

    from dualcast_client.answers import Curve, Problem


class Dualcast:
    """``Api`` with answers as pandas frames. Parameters and errors are those of ``Api``."""

    def __init__(self, da_svc: str | None = None, id_svc: str | None = None, **options: Any) -> None:
        """``options``: key, token, use_case, patience, timeout."""
        self.api = Api(da_svc, id_svc, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.api.close()

    def day_ahead(
        self, entity_id: str | Sequence[str] | None = None, delivery_date: date | None = None, **form: Any
    ) -> pd.DataFrame:
        """The curves of a delivery day, or the newest; ``form``: as_of, horizon, include_confidence.

        Several entities, default all, make one frame; the problems of others are in ``.attrs["problems"]``.
        """
        if isinstance(entity_id, str):
            return _frame([self.api.day_ahead(entity_id, delivery_date, **form)])
        return _frame(*self.api.day_ahead_of_many(entity_id, delivery_date, **form))

    def intraday(
        self, entity_id: str | Sequence[str] | None = None, *, published: bool = False, **form: Any
    ) -> pd.DataFrame:
        """The coming hours, scored now by id-svc, or as ``published``, by da-svc. Otherwise as ``day_ahead``."""
        if isinstance(entity_id, str):
            return _frame([self.api.intraday(entity_id, published=published, **form)])
        return _frame(*self.api.intraday_of_many(entity_id, published=published, **form))

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
    ) -> pd.DataFrame:
        """One curve by a named model, or with the values of some features replaced. None: the value is unknown."""
        curve = self.api.predict(
            entity_id,
            path=path,
            forecast_date=forecast_date,
            horizon=horizon,
            include_confidence=include_confidence,
            model_version=model_version,
            features=features,
        )
        return _frame([curve])

    def issued(self, path: Path, entity_id: str, start: datetime, end: datetime) -> pd.DataFrame:
        """All curves that were issued for the intervals from ``start`` to ``end``, with actuals, by time of issue."""
        return _frame(self.api.issued(path, entity_id, start, end))

    def history(self, entity_id: str, start: datetime, end: datetime) -> pd.DataFrame:
        """Actuals and the reference from ``start`` to ``end``."""
        from dualcast_client import frames  # noqa: PLC0415 - pandas is optional

        return frames.history(self.api.history(entity_id, start, end))

    def stream(self, path: Path = "intraday", entity_id: str | Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """New curves as they are published, beginning with the newest of each entity."""
        for curve in self.api.stream(path, entity_id):
            yield _frame([curve])

    def status(self, path: Path = "day-ahead") -> DayAheadStatus | IntradayStatus:
        """The state of da-svc (day-ahead) or id-svc (intraday)."""
        return self.api.status() if path == "day-ahead" else self.api.intraday_status()


def _frame(curves: Sequence[Curve], problems: Sequence[Problem] | None = None) -> pd.DataFrame:
    from dualcast_client import frames  # noqa: PLC0415 - pandas is optional

    frame = frames.curves(curves)
    if problems is not None:
        frame.attrs["problems"] = list(problems)
    return frame
