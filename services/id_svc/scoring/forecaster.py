"""Intraday curves by the champion or, if it fails, by fallbacks: previous version, shifted day-ahead, last stored.

The catalogue lists the allowed fallbacks in order. Each result names the one that was used. A batch of requests takes
one read of the feature store and one prediction of each model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from opentelemetry import metrics

from dualcast.catalogue import Entity, UseCase
from dualcast.curves.fallbacks import (
    LAST_STORED,
    PREVIOUS_VERSION,
    SHIFTED_DAY_AHEAD,
    fallback_reason,
    without_fallback,
)
from dualcast.curves.forecast import Forecast
from dualcast.lifecycle.registered_model import CHAMPION, PREVIOUS
from dualcast.records import FeatureRow
from dualcast.timegrid import Clock, floor
from services.book.curves import CurveCache
from services.book.series import SeriesCache
from services.id_svc.ports import Features, Log, Score
from services.id_svc.scoring.freshness import InputAges, Inputs
from services.id_svc.scoring.model_cache import ModelCache
from services.id_svc.scoring.shifted_day_ahead import shifted_day_ahead

OVERRIDDEN = "overridden:"
# The steps that are models, with their aliases in the registry.
_ALIASES = {CHAMPION: CHAMPION, PREVIOUS_VERSION: PREVIOUS}
_log = structlog.get_logger(__name__)


class NoForecastError(LookupError):
    """No step made a forecast. The text names the failure of each step."""


@dataclass(frozen=True)
class ForecastRequest:
    """A request for the curve of an entity; optionally by one model only, or with some features replaced."""

    use_case: UseCase
    entity: Entity
    model: str | None = None
    features: dict[str, list[float]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str | None, str]:
        """Equal for requests with equal results."""
        return self.use_case.use_case, self.entity.id, self.model, repr(self.features) if self.features else ""


@dataclass(frozen=True, eq=False)
class ForecastResult:
    """A curve, the fallback that made it, if any, and the newest known interval of each input if it was scored.

    Equal requests in one batch share one result. It is equal only to itself.
    """

    forecast: Forecast
    fallback: str | None
    inputs: Inputs = field(default_factory=dict)


@dataclass
class _Pending:
    """A request with the steps that are left to try and the failures so far."""

    request: ForecastRequest
    issued_at: datetime
    steps: list[str]
    row: FeatureRow | None = None
    inputs: Inputs = field(default_factory=dict)
    overdue: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    result: ForecastResult | None = None


class IntradayForecaster:
    """Makes intraday curves on request and when features arrive, also while other components are unavailable."""

    def __init__(
        self,
        features: Mapping[str, Features],
        model_cache: ModelCache,
        score: Score,
        curves: CurveCache,
        series: SeriesCache,
        clock: Clock,
        ages: InputAges,
        log: Log | None = None,
    ) -> None:
        self._features = features
        self._model_cache = model_cache
        self._score = score
        self._curves = curves
        self._series = series
        self._clock = clock
        self._ages = ages
        self._log = log
        self._fallbacks = metrics.get_meter(__name__).create_counter(
            "dualcast.fallbacks", description="curves that the champion did not make, by fallback"
        )

    def on_request(self, requests: Sequence[ForecastRequest]) -> list[ForecastResult | NoForecastError]:
        """The curve of each request as of now, from the newest features in the store, or the error, in order."""
        now = self._clock.now()
        # equal requests of a batch are scored once
        pending = {request.key: _Pending(request, now, _steps(request)) for request in requests}
        for use_case, group in _grouped(list(pending.values())):
            self._read(use_case, group)
            self._try_steps(use_case, group)
        for one in pending.values():
            self._log_scored(one)
        return [pending[request.key].result or _no_forecast(pending[request.key]) for request in requests]

    def on_arrival(self, use_case: UseCase, entity: Entity, row: FeatureRow) -> ForecastResult:
        """The curve of a row that has arrived, issued as of the row. Raises NoForecastError."""
        request = ForecastRequest(use_case, entity)
        # a stored curve has been published already
        one = _Pending(request, row.as_of, [step for step in _steps(request) if step != LAST_STORED], row)
        self._try_steps(use_case, [one])
        if one.result is None:
            raise _no_forecast(one)
        return one.result

    def _read(self, use_case: UseCase, pending: Sequence[_Pending]) -> None:
        """Read the row of each request, and replace the requested features."""
        ids = list(dict.fromkeys(one.request.entity.id for one in pending))
        try:
            rows = self._features[use_case.use_case].read(ids)
        except OSError as error:
            _log.warning("feature store unavailable", use_case=use_case.use_case, error=str(error)[:200])
            for one in pending:
                one.failures.append("the feature store is unavailable")
            return
        for one in pending:
            row = rows[one.request.entity.id]
            if row is None:
                one.failures.append("there are no features yet")
                continue
            one.row = replace(row, features=row.features | one.request.features) if one.request.features else row
            one.inputs = self._ages.of(use_case, row)
            one.overdue = self._ages.overdue(use_case, one.request.entity, one.inputs, one.issued_at)

    def _try_steps(self, use_case: UseCase, pending: Sequence[_Pending]) -> None:
        """Try the steps in order. Requests at the same step are tried together."""
        while waiting := [one for one in pending if one.result is None and one.steps]:
            step = waiting[0].steps[0]
            together = [one for one in waiting if one.steps[0] == step]
            for one in together:
                one.steps.pop(0)
            self._attempt(step, use_case, together)

    def _attempt(self, step: str, use_case: UseCase, pending: Sequence[_Pending]) -> None:
        if step in (SHIFTED_DAY_AHEAD, LAST_STORED):
            make = self._shifted if step == SHIFTED_DAY_AHEAD else self._last_stored
            for one in pending:
                forecast = make(one)
                if forecast is not None:
                    self._take(one, step, forecast)
        else:
            self._scored(step, use_case, [one for one in pending if one.row is not None])

    def _scored(self, step: str, use_case: UseCase, pending: Sequence[_Pending]) -> None:
        name = _ALIASES.get(step, step)
        model = self._model_cache.get(use_case.use_case, name)
        if model is None or not pending:
            for one in pending:
                one.failures.append(f"no {name} model is loaded")
            return
        rows, moments = [one.row for one in pending if one.row is not None], [one.issued_at for one in pending]
        try:
            made = self._score(model, use_case, rows, moments)
        except Exception as error:  # noqa: BLE001 - after any error of a model, the next fallback is tried
            if len(pending) > 1:  # find the row that fails
                for one in pending:
                    self._scored(step, use_case, [one])
                return
            _log.warning("model failed", name=model.name, version=model.version, error=repr(error)[:200])
            pending[0].failures.append(f"the {name} model {model.version} failed")
            return
        for one, forecast in zip(pending, made, strict=True):
            if isinstance(forecast, Exception):
                one.failures.append(str(forecast))
            else:
                self._take(one, step, forecast)

    def _log_scored(self, one: _Pending) -> None:
        """Log a curve that was scored on request. Curves scored on arrival are on the topics."""
        row, result = one.row, one.result
        if self._log is not None and row is not None and result is not None and result.inputs:
            self._log.add(row, result.forecast)

    def _shifted(self, one: _Pending) -> Forecast | None:
        request = one.request
        forecast = shifted_day_ahead(self._curves, self._series, request.use_case, request.entity, one.issued_at)
        if forecast is None:
            one.failures.append("no day-ahead curve reaches the coming interval")
        return forecast

    def _last_stored(self, one: _Pending) -> Forecast | None:
        use_case = one.request.use_case
        stored = self._curves.intraday(use_case.use_case, one.request.entity.id)
        forecast = None if stored is None else stored.forecast
        first = floor(one.issued_at, use_case.part("intraday").resolution)
        ahead = [p for p in forecast.points if p.valid_time >= first] if forecast is not None else []
        if forecast is None or not ahead:
            one.failures.append("no stored curve reaches the coming interval")
            return None
        return replace(forecast, points=ahead)

    def _take(self, one: _Pending, step: str, forecast: Forecast) -> None:
        """Set the result: the curve with the reasons why it is degraded and the fallback that made it."""
        request = one.request
        fallback = None if step in (CHAMPION, request.model) else step
        reasons = without_fallback(forecast.degraded_reasons)
        scored = step not in (SHIFTED_DAY_AHEAD, LAST_STORED)
        if scored:
            reasons += [*one.overdue, *(f"{OVERRIDDEN}{name}" for name in request.features)]
        if fallback is not None:
            self._fallbacks.add(1, {"use_case": request.use_case.use_case, "fallback": fallback})
            reasons += [fallback_reason(fallback), *one.failures]
        simulated = forecast.simulated or self._series.simulated(request.entity.id)
        named = replace(forecast, degraded=bool(reasons), degraded_reasons=reasons, simulated=simulated)
        one.result = ForecastResult(named, fallback, one.inputs if scored else {})


def _steps(request: ForecastRequest) -> list[str]:
    """The steps in order. A named model is the only step; with replaced features, only models are."""
    if request.model is not None:
        return [request.model]
    steps: list[str] = [CHAMPION, *request.use_case.part("intraday").fallbacks]
    return [step for step in steps if step in _ALIASES] if request.features else steps


def _grouped(pending: Sequence[_Pending]) -> list[tuple[UseCase, list[_Pending]]]:
    groups: dict[str, list[_Pending]] = {}
    for one in pending:
        groups.setdefault(one.request.use_case.use_case, []).append(one)
    return [(group[0].request.use_case, group) for group in groups.values()]


def _no_forecast(one: _Pending) -> NoForecastError:
    return NoForecastError(f"no forecast of {one.request.entity.id}: {'; '.join(one.failures)}")
