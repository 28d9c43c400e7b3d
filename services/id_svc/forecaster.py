"""The order of answers: champion, previous version, shifted day-ahead curve, last stored curve, none.

Which fallbacks are allowed, and in what order, is the catalogue's. Each answer names the one it used. Whatever is asked
at once is answered by one read of the feature store and one prediction of each model.
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
from dualcast.records import FeatureRow
from dualcast.timegrid import Clock, floor
from services.book.curves import CurveBook
from services.book.series import SeriesBook
from services.id_svc.freshness import InputAges, Inputs
from services.id_svc.model_cache import CHAMPION, PREVIOUS, ModelCache
from services.id_svc.ports import Features, Log, Score
from services.id_svc.shifted_day_ahead import shifted_day_ahead

OVERRIDDEN = "overridden:"
# The fallbacks that are models, by the alias that they have in the registry.
_ALIASES = {CHAMPION: CHAMPION, PREVIOUS_VERSION: PREVIOUS}
_log = structlog.get_logger(__name__)


class NoForecastError(LookupError):
    """Nothing could answer. The text says what was tried and why it failed."""


@dataclass(frozen=True)
class Ask:
    """What is asked: the curve of an entity; by one model alone, or as if some features were others."""

    use_case: UseCase
    entity: Entity
    model: str | None = None
    features: dict[str, list[float]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str | None, str]:
        """What tells it from others that ask for something else."""
        return self.use_case.use_case, self.entity.id, self.model, repr(self.features) if self.features else ""


@dataclass(frozen=True, eq=False)
class Answer:
    """A curve, the fallback that made it, if any, and the time up to which each input of a scored one was known.

    Equal requests in one batch share one answer. It is equal only to itself.
    """

    forecast: Forecast
    fallback: str | None
    inputs: Inputs = field(default_factory=dict)


@dataclass
class _Question:
    ask: Ask
    issued_at: datetime
    steps: list[str]
    row: FeatureRow | None = None
    inputs: Inputs = field(default_factory=dict)
    overdue: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    answer: Answer | None = None


class IntradayForecaster:
    """Makes intraday curves, on request and on arrival of features, whatever is away."""

    def __init__(
        self,
        features: Mapping[str, Features],
        model_cache: ModelCache,
        score: Score,
        curves: CurveBook,
        series: SeriesBook,
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
        self._kept = log
        self._fallbacks = metrics.get_meter(__name__).create_counter(
            "dualcast.curves.fallbacks", description="answers that did not come from the champion, by fallback"
        )

    def on_request(self, asks: Sequence[Ask]) -> list[Answer | NoForecastError]:
        """The curves as of now, from the newest features in the store, or why there is none, in the order of asking."""
        now = self._clock.now()
        # many ask the same in the same moment
        questions = {ask.key: _Question(ask, now, _steps(ask)) for ask in asks}
        for use_case, mine in _grouped(list(questions.values())):
            self._read(use_case, mine)
            self._answer(use_case, mine)
        for question in questions.values():
            self._keep(question)
        return [questions[ask.key].answer or _nothing(questions[ask.key]) for ask in asks]

    def on_arrival(self, use_case: UseCase, entity: Entity, row: FeatureRow) -> Answer:
        """The curve of a row that has just arrived, issued as of the row. Raises NoForecastError."""
        ask = Ask(use_case, entity)
        # a stored curve was published already
        question = _Question(ask, row.as_of, [step for step in _steps(ask) if step != LAST_STORED], row)
        self._answer(use_case, [question])
        if question.answer is None:
            raise _nothing(question)
        return question.answer

    def _read(self, use_case: UseCase, questions: Sequence[_Question]) -> None:
        """Give each question its row, with the features that it wants to be others."""
        ids = list(dict.fromkeys(question.ask.entity.id for question in questions))
        try:
            rows = self._features[use_case.use_case].read(ids)
        except OSError as error:
            _log.warning("feature store away", use_case=use_case.use_case, error=str(error)[:200])
            for question in questions:
                question.why.append("the feature store is away")
            return
        for question in questions:
            row = rows[question.ask.entity.id]
            if row is None:
                question.why.append("there are no features yet")
                continue
            question.row = replace(row, features=row.features | question.ask.features) if question.ask.features else row
            question.inputs = self._ages.of(use_case, row)
            question.overdue = self._ages.overdue(use_case, question.ask.entity, question.inputs, question.issued_at)

    def _answer(self, use_case: UseCase, questions: Sequence[_Question]) -> None:
        """Try one step after the other; those that stand at the same step are tried together."""
        while waiting := [q for q in questions if q.answer is None and q.steps]:
            step = waiting[0].steps[0]
            together = [q for q in waiting if q.steps[0] == step]
            for question in together:
                question.steps.pop(0)
            self._attempt(step, use_case, together)

    def _attempt(self, step: str, use_case: UseCase, questions: Sequence[_Question]) -> None:
        if step in (SHIFTED_DAY_AHEAD, LAST_STORED):
            make = self._shifted if step == SHIFTED_DAY_AHEAD else self._last_stored
            for question in questions:
                forecast = make(question)
                if forecast is not None:
                    self._take(question, step, forecast)
        else:
            self._scored(step, use_case, [question for question in questions if question.row is not None])

    def _scored(self, step: str, use_case: UseCase, questions: Sequence[_Question]) -> None:
        name = _ALIASES.get(step, step)
        model = self._model_cache.get(use_case.use_case, name)
        if model is None or not questions:
            for question in questions:
                question.why.append(f"no {name} model is loaded")
            return
        rows, moments = [q.row for q in questions if q.row is not None], [q.issued_at for q in questions]
        try:
            made = self._score(model, use_case, rows, moments)
        except Exception as error:  # noqa: BLE001 - whatever a model does, the next fallback answers
            if len(questions) > 1:  # one row must not spoil the others
                for question in questions:
                    self._scored(step, use_case, [question])
                return
            _log.warning("model failed", name=model.name, version=model.version, error=repr(error)[:200])
            questions[0].why.append(f"the {name} model {model.version} failed")
            return
        for question, forecast in zip(questions, made, strict=True):
            if isinstance(forecast, Exception):
                question.why.append(str(forecast))
                continue
            self._take(question, step, forecast)

    def _keep(self, question: _Question) -> None:
        """Log what a model made of a row; what is scored on arrival is on the topics."""
        row, answer = question.row, question.answer
        if self._kept is not None and row is not None and answer is not None and answer.inputs:
            self._kept.add(row, answer.forecast)

    def _shifted(self, question: _Question) -> Forecast | None:
        ask = question.ask
        forecast = shifted_day_ahead(self._curves, self._series, ask.use_case, ask.entity, question.issued_at)
        if forecast is None:
            question.why.append("no day-ahead curve reaches the coming interval")
        return forecast

    def _last_stored(self, question: _Question) -> Forecast | None:
        use_case = question.ask.use_case
        stored = self._curves.intraday(use_case.use_case, question.ask.entity.id)
        first = floor(question.issued_at, use_case.part("intraday").resolution)
        forecast = None if stored is None else stored.forecast
        ahead = [p for p in forecast.points if p.valid_time >= first] if forecast is not None else []
        if forecast is None or not ahead:
            question.why.append("no stored curve reaches the coming interval")
            return None
        return replace(forecast, points=ahead)

    def _take(self, question: _Question, step: str, forecast: Forecast) -> None:
        """Answer a question with a curve that names why it is degraded and which fallback it is."""
        use_case, ask = question.ask.use_case, question.ask
        fallback = None if step in (CHAMPION, ask.model) else step
        reasons = without_fallback(forecast.degraded_reasons)
        scored = step not in (SHIFTED_DAY_AHEAD, LAST_STORED)
        if scored:
            reasons += [*question.overdue, *(f"{OVERRIDDEN}{name}" for name in ask.features)]
        if fallback is not None:
            self._fallbacks.add(1, {"use_case": use_case.use_case, "fallback": fallback})
            reasons += [fallback_reason(fallback), *question.why]
        simulated = forecast.simulated or self._series.simulated(ask.entity.id)
        named = replace(forecast, degraded=bool(reasons), degraded_reasons=reasons, simulated=simulated)
        question.answer = Answer(named, fallback, question.inputs if scored else {})


def _steps(ask: Ask) -> list[str]:
    """What is tried, in order. A model that is named answers alone, and only models know other features."""
    if ask.model is not None:
        return [ask.model]
    steps: list[str] = [CHAMPION, *ask.use_case.part("intraday").fallbacks]
    return [step for step in steps if step in _ALIASES] if ask.features else steps


def _grouped(questions: Sequence[_Question]) -> list[tuple[UseCase, list[_Question]]]:
    groups: dict[str, list[_Question]] = {}
    for question in questions:
        groups.setdefault(question.ask.use_case.use_case, []).append(question)
    return [(mine[0].ask.use_case, mine) for mine in groups.values()]


def _nothing(question: _Question) -> NoForecastError:
    return NoForecastError(f"no forecast of {question.ask.entity.id}: {'; '.join(question.why)}")
