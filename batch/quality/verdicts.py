"""Verdicts of the suites, stored as JSON in the lake."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fsspec

from dualcast.adapters.lake import lake_paths
from dualcast.settings import Settings

# What a verdict is about: an entity, or an entity and its delivery day.
Key = tuple[Any, ...]
_MOST_NAMED = 50


@dataclass(frozen=True)
class Expectation:
    """The result of one expectation; ``failed`` is the number of judged entities or curves that do not meet it."""

    reason: str
    text: str
    success: bool
    failed: int


@dataclass(frozen=True)
class Verdict:
    """The result of a suite; ``refused`` has the reasons of each entity or curve that failed."""

    suite: str
    judged: int
    expectations: tuple[Expectation, ...]
    refused: Mapping[Key, tuple[str, ...]]

    @property
    def success(self) -> bool:
        """Whether every expectation was met."""
        return all(expectation.success for expectation in self.expectations)

    def __str__(self) -> str:
        met = sum(expectation.success for expectation in self.expectations)
        text = f"{met} of {len(self.expectations)} expectations met"
        return text + (f", {len(self.refused):,} of {self.judged:,} refused" if self.refused else "")


def store_verdict(settings: Settings, use_case: str, verdict: Verdict, now: datetime) -> None:
    """Store a verdict as JSON, with at most 50 of those that failed."""
    record = {
        "suite": verdict.suite,
        "use_case": use_case,
        "at": now.isoformat(timespec="seconds"),
        "success": verdict.success,
        "judged": verdict.judged,
        "expectations": [vars(expectation) for expectation in verdict.expectations],
        "refused": len(verdict.refused),
        "examples": [
            {"who": " ".join(map(str, key)), "reasons": reasons}
            for key, reasons in list(verdict.refused.items())[:_MOST_NAMED]
        ],
    }
    file = f"{lake_paths(settings).quality}/use_case={use_case}/{now:%Y%m%dT%H%M%S%f}-{verdict.suite}.json"
    with fsspec.open(file, "w", auto_mkdir=True) as opened:
        json.dump(record, opened, indent=1)


def newest_verdicts(settings: Settings, most: int) -> Iterator[dict[str, Any]]:
    """The newest stored verdicts of all use cases, newest first."""
    filesystem, folder = fsspec.core.url_to_fs(lake_paths(settings).quality)
    names = sorted(filesystem.glob(f"{folder}/use_case=*/*.json"), key=lambda name: name.rsplit("/", 1)[1])
    for name in names[: -most - 1 : -1]:
        with filesystem.open(name, "r") as opened:
            yield json.load(opened)
