"""The time up to which a use case's observations are published, kept in a file so that a restart resumes there."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from dualcast.settings import Settings
from dualcast.timegrid import Clock


class Published(BaseModel):
    """All values that a source published until ``until`` (inclusive) are on the topic.

    clock_start and clock_epoch identify the replay; both are None with the wall clock.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    until: AwareDatetime
    clock_start: AwareDatetime | None = None
    clock_epoch: AwareDatetime | None = None

    @classmethod
    def by(cls, source: str, until: datetime, clock: Clock) -> Self:
        """The progress of a source that publishes by a clock."""
        return cls(
            source=source,
            until=until,
            clock_start=clock.start,
            clock_epoch=clock.epoch if clock.is_replay else None,
        )

    def belongs_to(self, source: str, clock: Clock) -> bool:
        """Whether this is the progress of the same source under the same clock."""
        return self == Published.by(source, self.until, clock)


class PublishedFile:
    """The progress file of one use case."""

    def __init__(self, settings: Settings, use_case: str) -> None:
        self._path = Path(settings.names.file(str(settings.state_dir / f"replay-{use_case}.json")))

    def read(self) -> Published | None:
        """The progress; None if it is unknown."""
        try:
            return Published.model_validate_json(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValidationError):
            return None

    def write(self, published: Published) -> None:
        """Replace the file atomically: a killed process leaves the old or the new content."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".tmp")
        draft.write_text(published.model_dump_json(), encoding="utf-8")
        draft.replace(self._path)
