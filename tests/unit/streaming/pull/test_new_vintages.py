"""New observations of a pull: each value once, each change as a new vintage, on the grid, with publication times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from dualcast.catalogue import SourceSeries, UseCase
from dualcast.timegrid import micros
from streaming.ingest.messages import messages
from streaming.ingest.pull.http import RefusedError, UnavailableError
from streaming.ingest.pull.new_vintages import new_vintages
from streaming.ingest.pull.published_vintages import VintagesInMemory
from streaming.ingest.pull.run import Pull, Span
from streaming.ingest.source import Series, Values
from tests.unit.streaming.pull.conftest import DAY, HOUR, QUARTER

START = datetime(2022, 3, 27, 0, tzinfo=UTC)
NOW = START + timedelta(hours=6)
MINUTES = timedelta(minutes=5)


def load(
    use_case: UseCase,
    values: Sequence[float | None],
    step: timedelta = QUARTER,
    published: datetime | None = None,
    variable: str = "load",
    factor: float = 1.0,
) -> Values:
    series = Series(use_case.entities[0], SourceSeries(variable=variable, unit="MW", factor=factor))
    return Values.of(series, step, [START + i * step for i in range(len(values))], values, published)


def as_published(use_case: UseCase, frame: pd.DataFrame) -> VintagesInMemory:
    """The published vintages, as if the frame were on the topic."""
    sent = VintagesInMemory({})
    for message in messages(frame, 1000):
        record = message.to_record()
        for observation in record["observations"]:
            for name in ("valid_time", "published_at"):
                observation[name] = pd.Timestamp(observation[name], unit="us", tz="UTC").to_pydatetime()
        sent.add("test", [record])
    return sent


def observations_of(
    use_case: UseCase, values: Values, sent: VintagesInMemory, now: datetime = NOW, history: bool = False
) -> pd.DataFrame:
    return new_vintages(use_case, values, sent, "test", now, history=history)


def test_history_gets_the_publication_times_of_the_catalogue(use_case: UseCase) -> None:
    found = observations_of(use_case, load(use_case, [10.0, 20.0, None], factor=4), VintagesInMemory({}), history=True)
    assert found["value"].tolist() == [40.0, 80.0]
    assert found["published_at"].tolist() == [START + QUARTER, START + 2 * QUARTER]
    assert set(found["unit"]) == {"MW"}
    assert set(found["resolution"]) == {"PT15M"}


def test_history_contains_no_future_publication_times(use_case: UseCase) -> None:
    values = load(use_case, [1.0] * 4 * 48, variable="load_forecast_tso")
    found = observations_of(use_case, values, VintagesInMemory({}), now=START - timedelta(hours=20), history=True)
    assert (found["published_at"] <= START - timedelta(hours=20)).all()
    assert len(found) == 4 * 48


def test_published_values_are_not_repeated_and_new_values_are_published_now(use_case: UseCase) -> None:
    sent = as_published(use_case, observations_of(use_case, load(use_case, [10.0, 20.0]), VintagesInMemory({})))
    again = observations_of(use_case, load(use_case, [10.0, 20.0]), sent)
    assert again.empty
    found = observations_of(use_case, load(use_case, [10.0, 20.0, 30.0]), sent)
    assert found[["value", "published_at"]].to_numpy().tolist() == [[30.0, pd.Timestamp(NOW)]]


def test_a_changed_value_is_a_new_vintage(use_case: UseCase) -> None:
    sent = as_published(use_case, observations_of(use_case, load(use_case, [10.0, 20.0]), VintagesInMemory({})))
    found = observations_of(use_case, load(use_case, [10.0, 21.0]), sent, history=True)
    assert found[["valid_time", "value", "published_at"]].to_numpy().tolist() == [
        [pd.Timestamp(START + QUARTER), 21.0, pd.Timestamp(NOW)]
    ]
    sent = as_published(use_case, found)
    assert observations_of(use_case, load(use_case, [10.0, 21.0]), sent)["value"].tolist() == [10.0]


@pytest.mark.parametrize(
    ("stated", "taken"),
    [
        (NOW - timedelta(hours=1), NOW - timedelta(hours=1)),
        (NOW + timedelta(hours=1), NOW),  # a publication time in the future
        (START, NOW),  # before the interval had ended
        (None, NOW),
    ],
)
def test_publication_times_of_the_source_are_kept(use_case: UseCase, stated: datetime | None, taken: datetime) -> None:
    sent = VintagesInMemory({("DE", "load"): {micros(START - DAY): (micros(START), 1.0)}})
    found = observations_of(use_case, load(use_case, [10.0], published=stated), sent)
    assert found["published_at"].tolist() == [taken]


def test_a_correction_with_an_older_publication_time_is_published_now(use_case: UseCase) -> None:
    sent = VintagesInMemory({("DE", "load"): {micros(START): (micros(NOW - HOUR), 1.0)}})
    found = observations_of(use_case, load(use_case, [2.0], published=NOW - 2 * HOUR), sent)
    assert found["published_at"].tolist() == [NOW]


def test_an_unfinished_interval_is_not_published(use_case: UseCase) -> None:
    found = observations_of(
        use_case, load(use_case, [1.0] * 4), VintagesInMemory({}), now=START + timedelta(minutes=44)
    )
    assert found["valid_time"].tolist() == [START, START + QUARTER]
    assert (
        len(
            observations_of(
                use_case, load(use_case, [1.0] * 4, variable="load_forecast_tso"), VintagesInMemory({}), now=START
            )
        )
        == 4
    )


@pytest.mark.parametrize(
    ("values", "hours"),
    [
        ([float(i) for i in range(12)], [5.5]),
        ([float(i) for i in range(11)], []),  # the last five minutes may still come
        ([1.0] * 6 + [None] * 6 + [4.0], []),  # half of the interval is too little
        ([1.0] * 6 + [3.0] + [None] * 5 + [4.0], [9 / 7]),
        ([float(i) for i in range(24)], [5.5, 17.5]),
        ([None] * 12, []),
    ],
)
def test_five_minute_values_are_aggregated_to_hours(
    es_load: UseCase, values: list[float | None], hours: list[float]
) -> None:
    found = observations_of(es_load, load(es_load, values, MINUTES), VintagesInMemory({}))
    assert found["value"].tolist() == pytest.approx(hours)
    assert found["valid_time"].tolist() == [START + i * HOUR for i in range(len(hours))]
    assert set(found["resolution"]) <= {"PT1H"}


def test_a_mean_completed_by_its_last_part_is_a_new_vintage(es_load: UseCase) -> None:
    part = [1.0] * 11 + [None, 1.0]
    sent = as_published(es_load, observations_of(es_load, load(es_load, part, MINUTES), VintagesInMemory({})))
    assert observations_of(es_load, load(es_load, part, MINUTES), sent).empty
    assert observations_of(es_load, load(es_load, [1.0] * 11 + [13.0], MINUTES), sent)["value"].tolist() == [2.0]


def test_resolutions_that_do_not_fit_the_grid_are_refused(use_case: UseCase) -> None:
    for minutes in (7, 20):
        with pytest.raises(ValueError, match=f"PT{minutes}M do not fit"):
            observations_of(use_case, load(use_case, [1.0], timedelta(minutes=minutes)), VintagesInMemory({}))


class FakePuller:
    """A puller with two series, of which the second may fail."""

    name = "test"
    longest = DAY

    def __init__(self, use_case: UseCase, fault: Exception | None = None) -> None:
        self.batches = [
            [Series(use_case.entities[0], SourceSeries(variable=name, unit="MW"))]
            for name in ("load", "load_forecast_tso")
        ]
        self.asked: list[tuple[str, datetime, datetime]] = []
        self._fault = fault

    def pull(self, batch: Sequence[Series], start: datetime, end: datetime) -> Iterable[Values]:
        (series,) = batch
        self.asked.append((series.spec.variable, start, end))
        if self._fault is not None and series.spec.variable != "load":
            raise self._fault
        half = start + (end - start) / 2
        for begin, until in ((start, half), (half, end)):  # as two documents
            times = [t.to_pydatetime() for t in pd.date_range(begin, until, freq=QUARTER, inclusive="left")]
            yield Values.of(series, QUARTER, times, [50000.0] * len(times))

    def close(self) -> None:
        pass


class RecordingSink:
    """A sink that keeps the published frames."""

    def __init__(self) -> None:
        self.frames: list[pd.DataFrame] = []

    def publish(self, observations: pd.DataFrame, most: int) -> int:
        self.frames.append(observations)
        return 1


def test_a_pull_publishes_window_by_window_in_order_of_publication(use_case: UseCase) -> None:
    puller, sink = FakePuller(use_case), RecordingSink()
    now = START + 2 * DAY + 6 * HOUR
    span = Span(START, now, ahead=DAY)
    steps = list(Pull(use_case, puller, sink, VintagesInMemory({})).run(span, lambda: now, history=True))
    assert [step.until for step in steps] == [START + DAY, START + 2 * DAY, now]
    assert puller.asked[-2:] == [("load", START + 2 * DAY, now), ("load_forecast_tso", START + 2 * DAY, now + DAY)]
    assert sum(step.observations for step in steps) == 96 * 4 + 24 + 24 + 96
    assert all(frame["published_at"].is_monotonic_increasing for frame in sink.frames)


@pytest.mark.parametrize("fault", [UnavailableError("away"), RefusedError("no"), ValueError("what?")])
def test_a_failed_series_does_not_affect_the_others(use_case: UseCase, fault: Exception) -> None:
    puller, sink = FakePuller(use_case, fault), RecordingSink()
    (step,) = Pull(use_case, puller, sink, VintagesInMemory({})).run(
        Span(START, START + DAY), lambda: START + DAY, history=True
    )
    assert replace(step, until=START) == type(step)(START, 96, 1)
    assert set(sink.frames[0]["variable"]) == {"load"}
