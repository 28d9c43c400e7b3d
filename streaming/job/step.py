"""Processes one message: decodes and checks it, updates its entity's state, and returns rows and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from dualcast.adapters.kafka.dead_letters import Refused, dead_letter
from dualcast.adapters.kafka.wire.decoder import Decoder, DecodingError, ObservationMessage, check_key
from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.adapters.kafka.wire.feature_messages import FeatureMessages
from dualcast.arrays import Texts
from dualcast.catalogue import UseCase
from dualcast.features.intraday.plan import IntradayPlan
from dualcast.features.intraday.state import IntradayState, Rows
from dualcast.features.intraday.update import update_of
from dualcast.observations.validation import OF_OTHER_USE_CASE, UNKNOWN_ENTITY, VALID, faults
from dualcast.records import FeatureRow, Topic
from dualcast.settings import Settings
from dualcast.timegrid import from_micros, micros

COMPONENT = "stream-features"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from Kafka."""

    key: bytes | None
    value: bytes | None
    partition: int
    offset: int


@dataclass(slots=True)
class Outcome:
    """The results of a message: the count and messages of its feature rows, the newest row, dead letters by reason."""

    made: int = 0
    messages: list[bytes] = field(default_factory=list)
    newest: FeatureRow | None = None
    dead: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Raw:
    record: dict[str, Any]

    def to_record(self) -> dict[str, Any]:
        return self.record


class FeatureStep:
    """Turns messages of one use case into feature rows.

    ``elsewhere`` are the variables that other use cases have of their entities (``variables_elsewhere``): observations
    of these are left to them. ``now`` is the clock.
    """

    def __init__(
        self,
        settings: Settings,
        use_case: UseCase,
        elsewhere: Mapping[str, frozenset[str]],
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._use_case = use_case
        self._elsewhere = elsewhere
        self._now = now or settings.clock.now
        self._decoder = Decoder(settings, Topic.OBSERVATIONS)
        self._row_encoder = Encoder(settings, Topic.FEATURES_INTRADAY)
        self._dead_letter_encoder = Encoder(settings, Topic.DEAD_LETTERS)
        self._observation_encoder = Encoder(settings, Topic.OBSERVATIONS)
        self._entities = {e.id: e for e in use_case.entities}
        self._plans: dict[str, IntradayPlan] = {}
        self._writers: dict[str, FeatureMessages] = {}

    def plan(self, entity_id: str) -> IntradayPlan | None:
        """The plan of an entity, made once; None if this use case has no such entity."""
        if entity_id not in self._entities:
            return None
        if entity_id not in self._plans:
            self._plans[entity_id] = IntradayPlan(self._use_case, self._entities[entity_id])
        return self._plans[entity_id]

    def apply(self, message: Incoming, state: IntradayState | None) -> Outcome:
        """Process one message. ``state`` is that of the entity that the key names, None if there is no such entity."""
        outcome = Outcome()
        try:
            observed = self._read(message)
        except DecodingError as error:
            outcome.dead.append((error.reason, self._dead(message, error.reason, error.detail, message.value)))
            return outcome
        if state is not None:
            self._observe(message, observed, state, outcome)
        return outcome

    def overdue(self, entity_id: str, state: IntradayState, origin: int) -> Outcome:
        """The row of an origin slot whose newest value is overdue, if there is a row to make."""
        plan, outcome = self._plans[entity_id], Outcome()
        row = state.overdue(origin, plan.features.step * 1_000_000)
        self._enter(entity_id, plan, [row] if row is not None else [], outcome)
        return outcome

    def close(self) -> None:
        """Close the connections to the registry."""
        for part in (self._row_encoder, self._dead_letter_encoder, self._observation_encoder):
            part.close()

    def _read(self, message: Incoming) -> ObservationMessage:
        observed = self._decoder.columns(message.value)
        check_key(message.key, observed.entity_id)
        if observed.entity_id not in self._entities and observed.entity_id not in self._elsewhere:
            raise DecodingError(UNKNOWN_ENTITY, f"no use case has an entity {observed.entity_id!r}")
        return observed

    def _observe(self, message: Incoming, observed: ObservationMessage, state: IntradayState, outcome: Outcome) -> None:
        plan = self._plans[observed.entity_id]
        reasons = self._faults(observed)
        valid = np.flatnonzero(reasons == VALID)
        update, used = update_of(plan, observed.columns.take(valid))
        chunks, refused = state.apply(update)
        for index, reason in refused:
            reasons[valid[used[index]]] = reason
        self._enter(observed.entity_id, plan, chunks, outcome)
        outcome.dead.extend(self._refused(message, observed, reasons))

    def _enter(self, entity_id: str, plan: IntradayPlan, chunks: Sequence[Rows], outcome: Outcome) -> None:
        writer = self._writer(entity_id, plan)
        for rows in chunks:
            outcome.made += len(rows)
            outcome.messages.extend(writer.of(rows, plan.features.step))
        if chunks:
            outcome.newest = self._row(entity_id, plan, chunks[-1])

    def _faults(self, observed: ObservationMessage) -> Texts:
        elsewhere = self._elsewhere.get(observed.entity_id, ())
        return faults(self._use_case, observed.columns, micros(self._now()), elsewhere)

    def _refused(self, message: Incoming, observed: ObservationMessage, reasons: Texts) -> Iterator[tuple[str, bytes]]:
        for i in np.flatnonzero((reasons != VALID) & (reasons != OF_OTHER_USE_CASE)).tolist():
            record = observed.record(i)
            alone = _Raw({"entity_id": observed.entity_id, "observations": [record]})
            text = f"observation {i} of {len(reasons)}: {record}"
            yield reasons[i], self._dead(message, reasons[i], text, self._observation_encoder.encode(alone))

    def _dead(self, message: Incoming, reason: str, detail: str, value: bytes | None) -> bytes:
        refused = Refused(message.key, value, Topic.OBSERVATIONS.value, message.partition, message.offset)
        return self._dead_letter_encoder.encode(dead_letter(refused, reason, detail, COMPONENT, self._now()))

    def _writer(self, entity_id: str, plan: IntradayPlan) -> FeatureMessages:
        if entity_id not in self._writers:
            widths = plan.features.widths(plan.horizons)
            self._writers[entity_id] = FeatureMessages(
                self._row_encoder, self._use_case.use_case, entity_id, plan.fingerprint, widths
            )
        return self._writers[entity_id]

    def _row(self, entity_id: str, plan: IntradayPlan, rows: Rows) -> FeatureRow:
        values = {name: v[-1].tolist() for name, v in rows.features.items()}
        valid_time = from_micros(int(rows.origin[-1]) * plan.features.step * 1_000_000)
        as_of = from_micros(int(rows.as_of[-1]))
        return FeatureRow(self._use_case.use_case, entity_id, valid_time, as_of, plan.fingerprint, values)
