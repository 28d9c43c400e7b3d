"""Invalid messages for robustness tests, each with the expected dead-letter reasons of the stream and the lake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from dualcast.adapters.kafka.wire.encoder import Encoder
from dualcast.records import DeadLetter, Observation, ObservationBatch, Topic
from dualcast.settings import Settings

_WEEK = timedelta(days=7)
_DAY_OF_TARGETS = 96
# In the future by the system clock.
_FUTURE = datetime(2099, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sent:
    """A message and its expected dead-letter reasons: of the stream, and of the lake (Bronze and Silver)."""

    key: bytes | None
    value: bytes | None
    stream: Sequence[str] = ()
    bronze: Sequence[str] = ()
    silver: Sequence[str] = ()


@dataclass
class HostileMessages:
    """Creates hostile messages from valid messages that were sent before; deterministic for a seed."""

    settings: Settings
    entity_id: str
    target: str
    seed: int = 7
    _good: list[Observation] = field(default_factory=list)
    _targets: list[Observation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._codecs = {topic: Encoder(self.settings, topic) for topic in (Topic.OBSERVATIONS, Topic.DEAD_LETTERS)}
        dead_letter = DeadLetter("none", "", "test", "observations.v1", 0, 0, _FUTURE)
        self._other_schema = self._codecs[Topic.DEAD_LETTERS].encode(dead_letter)
        self._kinds: list[Callable[[], Sent]] = [
            self._random_bytes,
            self._cut_short,
            self._wrong_schema,
            self._wrong_key,
            self._unknown_entity,
            self._duplicate,
            self._late,
            self._implausible,
            *(lambda c=c, r=r: self._with_fields(r, **c) for r, c in _INVALID_FIELDS),
            lambda: self._with_invalid_observation("out_of_bounds", lambda o: {"value": o.value * 10}),
            lambda: self._with_invalid_observation("out_of_bounds", lambda o: {"value": -o.value}),
            lambda: self._with_invalid_observation(
                "off_grid", lambda o: {"valid_time": o.valid_time + timedelta(minutes=1)}
            ),
            lambda: self._with_invalid_observation("future_dated", lambda o: {"published_at": o.valid_time}),
        ]

    def close(self) -> None:
        """Close the connections to the registry."""
        for codec in self._codecs.values():
            codec.close()

    def good(self, observations: list[Observation]) -> Sent:
        """Return a valid message; later hostile messages are derived from it."""
        self._good += observations
        self._targets += [o for o in observations if o.variable == self.target]
        return self._message(observations)

    def messages(self, count: int) -> Iterator[Sent]:
        """Yield hostile messages of uniformly random kinds."""
        for kind in self._rng.integers(len(self._kinds), size=count):
            yield self._kinds[kind]()

    def _random_bytes(self) -> Sent:
        value = self._rng.bytes(int(self._rng.integers(0, 200)))
        if self._rng.random() < 0.5:  # the magic byte of the schema registry's wire format
            value = b"\x00" + value
        none = self._rng.random() < 0.1
        key = self._rng.bytes(4) if self._rng.random() < 0.3 else self.entity_id.encode()
        return Sent(key, None if none else value, ["not_avro"], ["not_avro"])

    def _cut_short(self) -> Sent:
        whole = self._encoded([self._choose(self._good)])
        return Sent(
            self.entity_id.encode(), whole[: int(self._rng.integers(6, len(whole) - 1))], ["not_avro"], ["not_avro"]
        )

    def _wrong_schema(self) -> Sent:
        return Sent(self.entity_id.encode(), self._other_schema, ["wrong_schema"], ["wrong_schema"])

    def _wrong_key(self) -> Sent:
        return Sent(b"elsewhere", self._encoded([self._choose(self._good)]), ["wrong_key"], ["wrong_key"])

    def _unknown_entity(self) -> Sent:
        name = f"X{self._rng.integers(50)}"
        value = self._codecs[Topic.OBSERVATIONS].encode(ObservationBatch(name, [self._choose(self._good)]))
        return Sent(name.encode(), value, ["unknown_entity"], [], ["unknown_entity"])

    def _duplicate(self) -> Sent:
        return self._message([self._good[-1 - int(self._rng.integers(min(50, len(self._good))))]])

    def _late(self) -> Sent:
        return self._message([self._choose(self._good) for _ in range(3)])

    def _implausible(self) -> Sent:
        """A correction of a value of the last day to more than twice the value of a week before."""
        if len(self._targets) < 9 * _DAY_OF_TARGETS:
            return self._duplicate()
        newest = self._targets[-_DAY_OF_TARGETS:]
        at = int(self._rng.integers(len(newest)))
        week_ago = self._targets[len(self._targets) - _DAY_OF_TARGETS + at - 7 * _DAY_OF_TARGETS]
        assert newest[at].valid_time - week_ago.valid_time == _WEEK
        later = newest[at].published_at + timedelta(seconds=1)
        return self._message([replace(newest[at], value=2.2 * week_ago.value, published_at=later)], "implausible")

    def _with_fields(self, reason: str, **changes: Any) -> Sent:
        return self._with_invalid_observation(reason, lambda _: changes)

    def _with_invalid_observation(self, reason: str, change: Callable[[Observation], dict[str, Any]]) -> Sent:
        """One invalid observation between two valid observations that were sent before."""
        if not self._targets:
            return self._duplicate()
        bad = self._choose(self._targets)
        bad = replace(bad, **change(bad))
        return self._message([self._choose(self._good), bad, self._choose(self._good)], reason)

    def _message(self, observations: list[Observation], *reasons: str) -> Sent:
        return Sent(self.entity_id.encode(), self._encoded(observations), reasons, [], reasons)

    def _encoded(self, observations: list[Observation]) -> bytes:
        return self._codecs[Topic.OBSERVATIONS].encode(ObservationBatch(self.entity_id, observations))

    def _choose(self, among: list[Observation]) -> Observation:
        return among[int(self._rng.integers(len(among)))]


_INVALID_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("not_finite", {"value": float("nan")}),
    ("not_finite", {"value": float("inf")}),
    ("unknown_variable", {"variable": "laod"}),
    ("wrong_unit", {"unit": "kW"}),
    ("bad_resolution", {"resolution": "a while"}),
    ("bad_resolution", {"resolution": "PT7M"}),
    ("bad_resolution", {"resolution": "00:15:00"}),
    ("interval_too_long", {"resolution": "P366D"}),
    ("too_old", {"valid_time": datetime(1981, 1, 1, tzinfo=UTC)}),
    ("too_far_ahead", {"variable": "load_forecast_tso", "valid_time": datetime(2199, 1, 1, tzinfo=UTC)}),
    ("bad_time", {"valid_time": datetime(1970, 1, 1, tzinfo=UTC)}),
    ("future_dated", {"published_at": _FUTURE}),
]
