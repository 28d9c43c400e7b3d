"""The Flink function around ``step``: keeps the state, writes the online store and counts."""

from __future__ import annotations

from collections.abc import Iterator

import stamina
import structlog
from opentelemetry import metrics
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor
from redis.exceptions import RedisError

from dualcast import telemetry
from dualcast.catalogue import UseCase, load_catalogue
from dualcast.features.intraday.state import IntradayState
from dualcast.observations.validation import variables_elsewhere
from dualcast.records import FeatureRow, Topic
from dualcast.settings import Settings
from streaming.job import java
from streaming.job.clock import LiveClock
from streaming.job.overdue import Overdue
from streaming.job.step import COMPONENT, FeatureStep, Incoming, Outcome

# The types that cross between the JVM and Python. All records of one message cross as one array.
INPUT = Types.ROW([Types.PRIMITIVE_ARRAY(Types.BYTE())] * 2 + [Types.INT(), Types.LONG(), Types.STRING()])
OUTPUT = Types.ROW_NAMED(
    ["topic", "entity_id", "origin", "traceparent", "records"],
    [Types.STRING()] * 4 + [Types.OBJECT_ARRAY(Types.PRIMITIVE_ARRAY(Types.BYTE()))],
)
_REDIS_PATIENCE_SECONDS = 60.0


class IntradayFeatures(KeyedProcessFunction):  # type: ignore[misc]
    """Keyed by the Kafka key: messages of one entity in, encoded feature rows and dead letters out."""

    def __init__(self, settings: Settings, use_case: UseCase) -> None:
        folders = {"state_dir": settings.state_dir.resolve(), "use_cases": settings.use_cases.resolve()}
        self._settings = settings.model_copy(update=folders)
        self._use_case = use_case

    def open(self, runtime_context: RuntimeContext) -> None:
        """Connect; called once in each worker."""
        from dualcast.adapters.feature_store import OnlineFeatures  # noqa: PLC0415 -- takes a second, only workers need it

        if self._settings.flink_python == "thread":
            java.adapt_python()
        if not structlog.is_configured():  # a worker process that is not configured yet
            telemetry.configure(self._settings, COMPONENT)
        meter = metrics.get_meter(COMPONENT)
        self._made = meter.create_counter("dualcast.feature_rows", description="feature rows made")
        self._refused = meter.create_counter("dualcast.dead_letters", description="records refused, by reason")
        descriptor = ValueStateDescriptor("intraday", Types.PICKLED_BYTE_ARRAY())
        self._stored = runtime_context.get_state(descriptor)
        self._states: dict[str, IntradayState] = {}
        self._clock = LiveClock(self._settings)
        self._overdue = Overdue(self._use_case)
        elsewhere = variables_elsewhere(load_catalogue(self._settings.use_cases).values(), self._use_case)
        self._step = FeatureStep(self._settings, self._use_case, elsewhere, self._clock.now)
        self._online = OnlineFeatures(self._settings, self._use_case.use_case)

    def close(self) -> None:
        """Close what ``open`` opened."""
        self._step.close()

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """Process one message; see INPUT and OUTPUT."""
        raw_key, raw_value, partition, offset, traceparent = value
        entity_id = ctx.get_current_key()
        state = self._state(entity_id)
        outcome = self._step.apply(Incoming(raw_key, raw_value, partition, offset), state)
        yield from self._emit(entity_id, outcome, f"{partition}-{offset}", traceparent)
        if state is not None:
            self._stored.update(state.to_bytes())
        if state is not None and state.newest_publication is not None:
            self._overdue.note_publication(self._clock.current(), state.newest_publication)
            self._set_timer(ctx)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        """A slot has begun: make its row if its values are overdue."""
        entity_id = ctx.get_current_key()
        state, origin = self._state(entity_id), self._overdue.origin(self._clock.current())
        if state is None:
            return
        if origin is not None:
            outcome = self._step.overdue(entity_id, state, origin)
            yield from self._emit(entity_id, outcome, f"{entity_id}-{timestamp}", None)
            self._stored.update(state.to_bytes())
        self._set_timer(ctx)

    def _emit(self, entity_id: str, outcome: Outcome, origin: str, traceparent: str | None) -> Iterator[Row]:
        """Write the newest row to the online store, count, and emit messages and dead letters; see OUTPUT."""
        if outcome.newest is not None:
            self._write_online(outcome.newest)
        self._count(outcome)
        if outcome.messages:
            yield Row(Topic.FEATURES_INTRADAY.value, entity_id, origin, traceparent, outcome.messages)
        if outcome.dead:
            dead_letters = [letter for _, letter in outcome.dead]
            yield Row(Topic.DEAD_LETTERS.value, entity_id, origin, traceparent, dead_letters)

    def _set_timer(self, ctx: KeyedProcessFunction.Context) -> None:
        at = self._overdue.next_check(self._clock.current())
        if at is not None:
            ctx.timer_service().register_processing_time_timer(at)

    def _state(self, entity_id: str) -> IntradayState | None:
        """The entity's state, kept in memory after the first read; a restart reads Flink's copy."""
        if entity_id not in self._states:
            plan = self._step.plan(entity_id)
            if plan is None:
                return None
            stored = self._stored.value()
            self._states[entity_id] = IntradayState.from_bytes(plan, stored) if stored else IntradayState(plan)
        return self._states[entity_id]

    def _write_online(self, row: FeatureRow) -> None:
        for attempt in stamina.retry_context(
            on=RedisError, attempts=None, timeout=_REDIS_PATIENCE_SECONDS, wait_initial=0.2, wait_max=2.0
        ):
            with attempt:
                self._online.write([row])

    def _count(self, outcome: Outcome) -> None:
        if outcome.made:
            self._made.add(outcome.made, {"use_case": self._use_case.use_case})
        for reason, _ in outcome.dead:
            self._refused.add(1, {"reason": reason})
