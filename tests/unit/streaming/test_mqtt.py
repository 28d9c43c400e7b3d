"""Telemetry over MQTT: topics name entities, fields give values and times, and unusable messages have a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from dualcast.catalogue import SourceSeries, UseCase
from dualcast.observations.frames import COLUMNS, SourceError
from dualcast.records import DeadLetter
from streaming.ingest.mqtt.client import Received
from streaming.ingest.mqtt.commands import forward
from streaming.ingest.mqtt.payloads import Mapping, PayloadError, RepeatFilter
from streaming.ingest.signals import Stopped

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
AT = NOW - timedelta(minutes=15)


def use_case_with(use_case: UseCase, **query: str) -> UseCase:
    asked = {"topic": "scada/{entity_id}/load", "value": "power.active_kw"} | query
    series = SourceSeries(variable="load", unit="kW", factor=0.001, query=asked)
    other = SourceSeries(
        variable="temperature_2m", entity="DE", unit="°C", query=asked | {"value": "t", "topic": "met"}
    )
    return use_case.model_copy(update={"sources": {"mqtt": (series, other)}})


@pytest.fixture
def mapping(use_case: UseCase) -> Mapping:
    return Mapping(use_case_with(use_case))


def payload(**changes: Any) -> bytes:
    return json.dumps({"power": {"active_kw": 5e7}, "time": AT.isoformat()} | changes).encode()


def test_a_message_becomes_an_observation(mapping: Mapping) -> None:
    assert mapping.filters == ["met", "scada/+/load"]
    (row,) = mapping.rows("scada/DE/load", payload(), NOW)
    assert set(row) == set(COLUMNS)
    assert (row["value"], row["unit"], row["valid_time"], row["published_at"]) == (5e4, "MW", AT, NOW)
    frame = mapping.frame([row, row | {"variable": "temperature_2m"}])
    assert frame["variable"].tolist() == ["temperature_2m", "load"]


@pytest.mark.parametrize(
    ("form", "given"),
    [("seconds", AT.timestamp()), ("milliseconds", AT.timestamp() * 1000), ("iso", "2024-05-01T13:45:00+02:00")],
)
def test_times_in_several_formats_are_parsed(use_case: UseCase, form: str, given: Any) -> None:
    mapping = Mapping(use_case_with(use_case, time="ts", time_format=form))
    (row,) = mapping.rows("scada/DE/load", payload(ts=given), NOW)
    assert row["valid_time"] == AT


def test_a_time_may_be_the_end_of_its_interval(use_case: UseCase) -> None:
    mapping = Mapping(use_case_with(use_case, time_is="end"))
    (row,) = mapping.rows("scada/DE/load", payload(), NOW)
    assert row["valid_time"] == AT - timedelta(minutes=15)


@pytest.mark.parametrize(
    ("topic", "sent", "reason"),
    [
        ("scada/XX/load", payload(), "unknown_entity"),
        ("scada/DE/load", b"\xff\x00", "not_json"),
        ("scada/DE/load", b"", "not_json"),
        ("scada/DE/load", b"[1]", "missing_field"),
        ("scada/DE/load", payload(power=3), "missing_field"),
        ("scada/DE/load", payload(power={"active_kw": "5"}), "not_finite"),
        ("scada/DE/load", payload(power={"active_kw": True}), "not_finite"),
        ("scada/DE/load", payload(power={"active_kw": float("nan")}), "not_finite"),
        ("scada/DE/load", payload(time="noon"), "bad_time"),
        ("scada/DE/load", payload(time=5), "bad_time"),
        ("scada/DE/load", b"[" * 100_000, "not_json"),
        ("scada/DE/load", b'{"power": ' * 100_000 + b"1" + b"}" * 100_000, "not_json"),
        ("scada/DE/load", b'{"power": {"active_kw": 1e999}, "time": "2024-05-01T00:00:00Z"}', "not_finite"),
        ("scada/DE/load", payload(power={"active_kw": 10**400}), "not_finite"),
        ("(not UTF-8)", payload(), "unknown_entity"),
    ],
)
def test_unreadable_payloads_have_a_reason(mapping: Mapping, topic: str, sent: bytes, reason: str) -> None:
    with pytest.raises(PayloadError) as error:
        mapping.rows(topic, sent, NOW)
    assert error.value.reason == reason


def test_times_out_of_range_are_refused(use_case: UseCase) -> None:
    mapping = Mapping(use_case_with(use_case, time_format="seconds"))
    with pytest.raises(PayloadError, match="bad_time"):
        mapping.rows("scada/DE/load", payload(time=1e300), NOW)


def test_redelivered_messages_are_published_once(mapping: Mapping) -> None:
    repeats = RepeatFilter()
    (first,) = mapping.rows("scada/DE/load", payload(), NOW)
    again = first | {"published_at": NOW + timedelta(seconds=1)}
    corrected = again | {"value": 1.0}
    assert list(repeats.without([first, again])) == [first]
    assert list(repeats.without([again, corrected, again])) == [corrected, again]


class FakeTelemetry:
    """A fake subscription, publisher and stop signal that records the calls in order."""

    def __init__(self, batches: list[list[bytes]], stops_at: int | None = None) -> None:
        self.happened: list[Any] = []
        self._batches = batches
        self._stops_at = stops_at

    @property
    def requested(self) -> bool:
        return not self._batches

    def take(self, most: int, timeout: float) -> list[Received]:
        return [Received("scada/DE/load", text, i, 1, 1) for i, text in enumerate(self._batches.pop(0))]

    def acknowledge(self, messages: list[Received]) -> None:
        self.happened.append(("acknowledged", len(messages)))

    def publish(self, observations: pd.DataFrame, most: int) -> int:
        if len(self.happened) == self._stops_at:
            raise Stopped
        self.happened.append(("published", len(observations)))
        return 1

    def send_dead_letter(self, letter: DeadLetter) -> None:
        self.happened.append(("buried", letter.reason, letter.value))


def test_messages_are_acknowledged_after_they_are_published(mapping: Mapping) -> None:
    earlier = payload(time=(AT - timedelta(minutes=15)).isoformat())
    world: Any = FakeTelemetry([[payload(), earlier, b"junk"], [], [payload(), earlier]], stops_at=4)
    with pytest.raises(Stopped):
        forward(world, mapping, world, world, lambda: NOW)
    assert world.happened == [
        ("buried", "not_json", b"junk"),
        ("published", 2),
        ("acknowledged", 3),
        ("acknowledged", 0),
    ]


def test_a_wrong_query_raises_source_error(use_case: UseCase) -> None:
    with pytest.raises(SourceError, match=r"sources\.mqtt, load of DE: query: colour: Extra inputs"):
        Mapping(use_case_with(use_case, colour="red"))


def test_a_number_of_a_million_digits_stops_nothing(mapping: Mapping) -> None:
    sent = b'{"power": {"active_kw": ' + b"9" * 1_000_000 + b'}, "time": "2024-05-01T00:00:00Z"}'
    with pytest.raises(PayloadError):
        mapping.rows("scada/DE/load", sent, NOW)


def test_the_first_moment_of_the_calendar_is_no_end_of_an_interval(use_case: UseCase) -> None:
    mapping = Mapping(use_case_with(use_case, time_is="end"))
    with pytest.raises(PayloadError, match="bad_time"):
        mapping.rows("scada/DE/load", payload(time="0001-01-01T00:00:00Z"), NOW)


def test_an_unforeseen_error_is_a_dead_letter_and_the_next_message_is_published(
    mapping: Mapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = mapping.rows

    def failing(topic: str, sent: bytes, now: datetime) -> list[dict[str, Any]]:
        if sent == b"poison":
            raise RecursionError("a mistake of ours")
        return rows(topic, sent, now)

    monkeypatch.setattr(mapping, "rows", failing)
    world: Any = FakeTelemetry([[b"poison", payload()]])
    forward(world, mapping, world, world, lambda: NOW)
    assert world.happened == [("buried", "unusable", b"poison"), ("published", 1), ("acknowledged", 2)]
