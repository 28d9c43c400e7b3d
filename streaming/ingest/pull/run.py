"""A pull: queries a time span, and publishes the values that are new or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd
import structlog

from dualcast.catalogue import UseCase
from dualcast.observations.frames import in_canonical_order
from streaming.ingest.pull.http import RefusedError, UnavailableError
from streaming.ingest.pull.new_vintages import new_vintages
from streaming.ingest.pull.published_vintages import PublishedVintages
from streaming.ingest.replay import MOST_IN_HISTORY, Sink
from streaming.ingest.source import Puller, Values

# Whatever an answer causes costs its own series alone.
_FAULTS = (
    UnavailableError,
    RefusedError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Span:
    """The queried time: [start, end); for forecasts, the end is later by ``ahead``."""

    start: datetime
    end: datetime
    ahead: timedelta = timedelta(0)


@dataclass(frozen=True)
class Pulled:
    """The result of one window of a pull."""

    until: datetime
    observations: int
    failed: int


class Pull:
    """Pulls of one source of one use case."""

    def __init__(self, use_case: UseCase, puller: Puller, sink: Sink, known: PublishedVintages) -> None:
        self._use_case = use_case
        self._puller = puller
        self._sink = sink
        self._known = known

    def run(self, span: Span, now: Callable[[], datetime], *, history: bool) -> Iterator[Pulled]:
        """Pull all series window by window; a failed series does not affect the others.

        Raises Stopped.
        """
        begin = span.start
        while begin < span.end:
            end = min(begin + self._puller.longest, span.end)
            frames, failed = self._window(begin, end, span.ahead if end == span.end else timedelta(0), now, history)
            frame = pd.concat(frames, ignore_index=True) if frames else None
            if frame is not None:
                self._sink.publish(in_canonical_order(frame, self._use_case.target), MOST_IN_HISTORY)
            begin = end
            yield Pulled(end, 0 if frame is None else len(frame), failed)

    def _window(
        self, begin: datetime, end: datetime, ahead: timedelta, now: Callable[[], datetime], history: bool
    ) -> tuple[list[pd.DataFrame], int]:
        frames, failed = [], 0
        for batch in self._puller.batches:
            forecast = any(self._use_case.variables[s.spec.variable].kind == "forecast" for s in batch)
            try:
                answers = _joined(self._puller.pull(batch, begin, end + ahead if forecast else end))
                found = [
                    new_vintages(self._use_case, values, self._known, self._puller.name, now(), history=history)
                    for values in answers
                ]
            except _FAULTS as error:
                failed += 1
                names = sorted({f"{s.spec.variable} of {s.entity.id}" for s in batch})
                _log.error("not pulled", source=self._puller.name, series=names[:5], error=str(error)[:300])
                continue
            frames += [frame for frame in found if len(frame)]
        return frames, failed


def _joined(answers: Iterable[Values]) -> list[Values]:
    """Join the values of each series and interval length, so that an hour split over two responses is complete."""
    parts: dict[tuple[str, str, timedelta], list[Values]] = {}
    for values in answers:
        key = values.series.entity.id, values.series.spec.variable, values.resolution
        parts.setdefault(key, []).append(values)
    return [
        Values(same[0].series, same[0].resolution, pd.concat([v.columns for v in same], ignore_index=True))
        for same in parts.values()
    ]
