"""The request of a backtest: a use case, perhaps changed, a path, a window of days, and how often to refit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import pandas as pd

from dualcast.catalogue import Path_, UseCase, path_identifier
from dualcast.timegrid import day_bounds

_REFIT = re.compile(r"P(?=\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?")


class BacktestRequestError(ValueError):
    """The request is invalid."""


@dataclass(frozen=True)
class Fold:
    """Local days [first, last] that are forecast by one model."""

    first: date
    last: date

    @property
    def name(self) -> str:
        """The first day, which names the fold and the version of its model."""
        return self.first.isoformat()


@dataclass(frozen=True)
class BacktestRequest:
    """A backtest of the local days [first, last].

    use_case: with ``what_if`` applied; refit: an ISO 8601 duration of days or longer
    without: the variables that were removed from the use case
    every: curves are made, for forecasts and training, every so many days from ``first``
    """

    use_case: UseCase
    path: Path_
    first: date
    last: date
    refit: str
    without: tuple[str, ...] = ()
    every: int = 1

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise BacktestRequestError(f"the window ends on {self.last}, before it begins on {self.first}")
        refit_length(self.refit)
        if self.every < 1 or (self.every > 1 and self.path == "intraday"):
            raise BacktestRequestError("--every is a number of days, at least 1, and more only for the day-ahead path")

    def folds(self) -> list[Fold]:
        """The window, divided where the model is refitted."""
        length, starts = refit_length(self.refit), [self.first]
        while (following := (pd.Timestamp(self.first) + length * len(starts)).date()) <= self.last:
            starts.append(following)
        ends = [start - timedelta(days=1) for start in starts[1:]]
        return [Fold(start, end) for start, end in zip(starts, [*ends, self.last], strict=True)]

    def fitted_at(self, fold: Fold) -> datetime:
        """When the model of a fold is fitted, UTC: at the first cutoff, or when the first day begins anywhere."""
        entities = self.use_case.entities
        if self.path == "day-ahead":
            return min(self.use_case.cutoff(entity, fold.first) for entity in entities)
        return min(day_bounds(fold.first, entity.time_zone)[0] for entity in entities)

    def days(self) -> list[date]:
        """Every day with rows: those of the window and those that the first model is trained on."""
        part = self.use_case.part(self.path)
        before = part.training_days // self.every * self.every
        begin = self.first - timedelta(days=before)
        return [begin + timedelta(days=i) for i in range(0, (self.last - begin).days + 1, self.every)]

    def facts(self) -> dict[str, str]:
        """The facts that must agree for a forecast file to be continued."""
        definition = self.use_case.model_dump_json(exclude={"replay"})
        return {
            "use case": self.use_case.use_case,
            "path": self.path,
            "first day": self.first.isoformat(),
            "last day": self.last.isoformat(),
            "refit": self.refit,
            "every": f"{self.every} days",
            "cutoff": f"{self.use_case.day_ahead.cutoff:%H:%M}" if self.path == "day-ahead" else "none",
            "without": ", ".join(self.without) or "nothing",
            "definition of the use case": _fingerprint(definition),
            "mapping of the file": _fingerprint(self.use_case.replay.model_dump_json()),
        }


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def refit_length(text: str) -> pd.DateOffset:
    """An ISO 8601 duration of years, months, weeks and days as a step of the calendar. Raises BacktestRequestError."""
    found = _REFIT.fullmatch(text)
    numbers = [int(n or 0) for n in found.groups()] if found else []
    if not any(numbers):
        raise BacktestRequestError(
            f"--refit {text!r} is not an ISO 8601 duration of days or longer, such as P3M, P1M or P7D"
        )
    return pd.DateOffset(**dict(zip(("years", "months", "weeks", "days"), numbers, strict=True)))


def what_if(use_case: UseCase, path: Path_, cutoff: time | None, without: Sequence[str]) -> UseCase:
    """The use case with another cutoff, or with no feature that reads some variables. Raises BacktestRequestError."""
    part = use_case.part(path)
    changes: dict[str, object] = {}
    if cutoff is not None:
        if path != "day-ahead":
            raise BacktestRequestError(
                "--cutoff applies to the day-ahead path: intraday forecasts are made as each value arrives"
            )
        changes["cutoff"] = cutoff
    for variable in without:
        if variable not in use_case.variables or variable == use_case.target:
            others = ", ".join(v for v in use_case.variables if v != use_case.target)
            raise BacktestRequestError(f"--without {variable}: it must be one of {others}")
    if without:
        kept = {n: s for n, s in part.features.items() if not set(without) & set(s.variables())}
        if part.scale is not None and part.scale not in kept:
            raise BacktestRequestError(f"--without {', '.join(without)}: the scale {part.scale!r} reads it")
        changes |= {"features": kept, "optional": tuple(v for v in part.optional if v not in without)}
    return use_case.model_copy(update={path_identifier(path): part.model_copy(update=changes)})
