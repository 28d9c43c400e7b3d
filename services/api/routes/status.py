"""The parts of a status that both services report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualcast.catalogue import UseCase, path_identifier
from dualcast.timegrid import Clock
from services.api.schemas.status import CircuitStatus, ClockStatus, FeedStatus, UseCaseStatus
from services.book.feeds import Feed
from services.circuits import Circuits


def clock_status(clock: Clock) -> ClockStatus:
    """The time and the settings of the clock."""
    now = clock.now()
    running = not clock.is_replay or now not in (clock.start, clock.until)
    return ClockStatus(
        now=now, replay=clock.is_replay, start=clock.start, until=clock.until, speed=clock.speed, running=running
    )


def use_case_status(use_case: UseCase) -> UseCaseStatus:
    """The names and the unit of a use case."""
    return UseCaseStatus(
        use_case=use_case.use_case,
        title=use_case.title,
        target=use_case.target,
        reference=use_case.reference,
        unit=use_case.unit,
        interval={path_identifier(path): use_case.part(path).interval for path in use_case.paths},
    )


def feed_status(feeds: Sequence[Feed[Any]]) -> list[FeedStatus]:
    """The state and the record counts of each feed."""
    return [
        FeedStatus(topic=f.topic, state=f.state, records=f.records, undecodable=f.undecodable, refused=f.refused)
        for f in feeds
    ]


def circuit_status(circuits: Circuits) -> list[CircuitStatus]:
    """The state of each circuit breaker."""
    return [CircuitStatus(server=circuit.server, failed=circuit.failed) for circuit in circuits.status()]
