"""The outcome of a day-ahead run, as JSON and as an exit status."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from dualcast.steps import Step

# The exit status of a run without error in which some curves are missing.
SOME_MISSING = 3


@dataclass(frozen=True)
class Missing:
    """A requested curve that was not made."""

    entity_id: str
    delivery_day: date
    reason: str


@dataclass(frozen=True)
class Outcome:
    """The published and missing curves of delivery days."""

    use_case: str
    days: Sequence[date]
    model_version: str
    published: int
    already_published: int
    missing: Sequence[Missing]
    quality_page: str

    @property
    def exit_status(self) -> int:
        """0 where no curve is missing."""
        return SOME_MISSING if self.missing else 0

    def as_json(self, steps: Sequence[Step]) -> dict[str, Any]:
        """A summary for schedulers."""
        return {
            "use_case": self.use_case,
            "from": self.days[0].isoformat(),
            "to": self.days[-1].isoformat(),
            "model_version": self.model_version,
            "published": self.published,
            "already_published": self.already_published,
            "missing": [{**asdict(curve), "delivery_day": curve.delivery_day.isoformat()} for curve in self.missing],
            # schedulers read the result of a step under this key
            "steps": [{"name": step.name, "seconds": step.seconds, "said": step.result} for step in steps],
            "seconds": round(sum(step.seconds for step in steps), 1),
            "quality_page": self.quality_page,
        }
