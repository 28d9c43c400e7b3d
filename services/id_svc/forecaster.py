"""The order of answers: champion, previous version, shifted day-ahead curve, last stored curve, none.

Which fallbacks are allowed, and in what order, is the catalogue's. Each answer names the one it used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from opentelemetry import metrics

from dualcast.catalogue import Entity, UseCase
from dualcast.records import FeatureRow, Forecast
from dualcast.timegrid import Clock, floor
from services.id_svc.ports import Features, Score
from services.id_svc.shelf import CHAMPION, PREVIOUS, ModelShelf
from services.id_svc.shifted import shifted_day_ahead
from services.shared.bodies import FALLBACK_REASON
from services.shared.memory.curves import CurveBook
from services.shared.memory.series import SeriesBook

LAST_STORED = "last_stored"
_log = structlog.get_logger(__name__)


class NoForecastError(LookupError):
    """Nothing could answer. The text says what was tried and why it failed."""


@dataclass
class _Question:
    use_case: UseCase
    entity: Entity
    row: FeatureRow | None
    issued_at: datetime
    why: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """A curve, and the fallback that it came from, if any."""

    forecast: Forecast
    fallback: str | None


class IntradayForecaster:
    """Makes intraday curves, on request and on arrival of features, whatever is away."""

    def __init__(
        self,
        features: Mapping[str, Features],
        shelf: ModelShelf,
        score: Score,
        curves: CurveBook,
        series: SeriesBook,
        clock: Clock,
    ) -> None:
        self._features = features
        self._shelf = shelf
        self._score = score
        self._curves = curves
        self._series = series
        self._clock = clock
        self._fallbacks = metrics.get_meter(__name__).create_counter(
            "dualcast.fallbacks", description="answers that did not come from the champion, by fallback"
        )

    def on_request(self, use_case: UseCase, entity: Entity) -> Answer:
        """The curve as of now, from the newest features in the store. Raises NoForecastError."""
        question = _Question(use_case, entity, None, self._clock.now())
        question.row = self._row(question)
        return self._answer(question, (CHAMPION, *use_case.part("intraday").fallbacks))

    def on_arrival(self, use_case: UseCase, entity: Entity, row: FeatureRow) -> Answer:
        """The curve of a row that has just arrived, issued as of the row. Raises NoForecastError."""
        question = _Question(use_case, entity, row, row.as_of)
        # a stored curve was published already
        steps = [step for step in use_case.part("intraday").fallbacks if step != LAST_STORED]
        return self._answer(question, (CHAMPION, *steps))

    def _row(self, question: _Question) -> FeatureRow | None:
        name, entity_id = question.use_case.use_case, question.entity.id
        try:
            row = self._features[name].read([entity_id])[entity_id]
        except OSError as error:
            _log.warning("feature store away", use_case=name, error=str(error)[:200])
            question.why.append("the feature store is away")
            return None
        if row is None:
            question.why.append("there are no features yet")
        return row

    def _answer(self, question: _Question, steps: tuple[str, ...]) -> Answer:
        for step in steps:
            forecast = self._attempt(step, question)
            if forecast is not None and forecast.points:
                return self._named(forecast, step, question)
        tried = "; ".join(question.why)
        raise NoForecastError(f"no forecast of {question.entity.id}: {tried}")

    def _attempt(self, step: str, question: _Question) -> Forecast | None:
        if step == CHAMPION:
            return self._scored(question, CHAMPION)
        if step == "previous_version":
            return self._scored(question, PREVIOUS)
        if step == "shifted_day_ahead":
            return self._shifted(question)
        return self._last_stored(question)

    def _scored(self, question: _Question, alias: str) -> Forecast | None:
        if question.row is None:
            return None
        model = self._shelf.get(question.use_case.use_case, alias)
        if model is None:
            question.why.append(f"no {alias} model is loaded")
            return None
        try:
            forecast = self._score(model, question.use_case, question.row, question.issued_at)
        except Exception as error:  # noqa: BLE001 - whatever a model does, the next fallback answers
            _log.warning("model failed", name=model.name, version=model.version, error=repr(error)[:200])
            question.why.append(f"the {alias} model {model.version} failed")
            return None
        if not forecast.points:
            question.why.append("the features are too old")
        return forecast

    def _shifted(self, question: _Question) -> Forecast | None:
        forecast = shifted_day_ahead(self._curves, self._series, question.use_case, question.entity, question.issued_at)
        if forecast is None:
            question.why.append("no day-ahead curve reaches the coming interval")
        return forecast

    def _last_stored(self, question: _Question) -> Forecast | None:
        stored = self._curves.intraday(question.use_case.use_case, question.entity.id)
        first = floor(question.issued_at, question.use_case.part("intraday").resolution)
        ahead = [p for p in stored.points if p.valid_time >= first] if stored is not None else []
        if stored is None or not ahead:
            question.why.append("no stored curve reaches the coming interval")
            return None
        return replace(stored, points=ahead)

    def _named(self, forecast: Forecast, step: str, question: _Question) -> Answer:
        simulated = forecast.simulated or self._series.simulated(question.entity.id)
        if step == CHAMPION:
            return Answer(replace(forecast, simulated=simulated), None)
        self._fallbacks.add(1, {"use_case": question.use_case.use_case, "fallback": step})
        reasons = [r for r in forecast.degraded_reasons if not r.startswith(FALLBACK_REASON)]
        reasons += [f"{FALLBACK_REASON}{step}", *question.why]
        named = replace(forecast, degraded=True, degraded_reasons=reasons, simulated=simulated)
        return Answer(named, step)
