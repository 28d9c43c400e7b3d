"""The interfaces that id-svc needs from outside. Adapters implement them; tests use fakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, Self

from dualcast.catalogue import UseCase
from dualcast.curves.forecast import Forecast
from dualcast.lifecycle.registered_model import Alias
from dualcast.records import FeatureRow


class Model(Protocol):
    """A model that was loaded from the registry."""

    @property
    def name(self) -> str:
        """Its registered name."""

    @property
    def version(self) -> str:
        """Its version in the registry."""


class Models(Protocol):
    """The model registry."""

    def version(self, name: str, alias: Alias) -> str | None:
        """The version of an alias; None if there is none.

        Raises ConnectionError if the registry is unavailable.
        """

    def load(self, name: str, alias: Alias) -> Model:
        """That version, ready to predict. Raises ConnectionError, or whatever a broken model raises."""

    def last(self, name: str, alias: Alias) -> Model:
        """The version that was loaded last, without the registry.

        Raises LookupError if there is none, or whatever a broken model raises.
        """


class Features(Protocol):
    """The online feature store of one use case."""

    def read(self, entity_ids: Sequence[str]) -> Mapping[str, FeatureRow | None]:
        """The newest row of each entity. Raises OSError if the store is unavailable."""


class Score(Protocol):
    """Makes curves from feature rows with one prediction."""

    def __call__(
        self, model: Any, use_case: UseCase, rows: Sequence[FeatureRow], issued_at: Sequence[datetime]
    ) -> Sequence[Forecast | Exception]:
        """The curve of each row, or an exception if it has none. Raises whatever the model raises."""


class Prove(Protocol):
    """Checks a model with a prediction before it serves, which also warms it up."""

    def __call__(self, model: Any, use_case: UseCase) -> None:
        """Raises whatever a broken model raises."""


class Log(Protocol):
    """Keeps scored curves for audit."""

    def add(self, row: FeatureRow, forecast: Forecast) -> None:
        """Keep a curve and the row that it was made from. Never blocks."""


@dataclass(frozen=True)
class Arrival:
    """A feature row with the headers that carry its trace."""

    row: FeatureRow
    trace: Mapping[str, str] = field(default_factory=dict)


class Arrivals(Protocol):
    """Feature rows as they arrive, each at least once."""

    def __enter__(self) -> Self:
        """Connect. Raises OSError."""

    def __exit__(self, *_: object) -> None:
        """Disconnect."""

    def poll(self, timeout: float, since: datetime) -> list[Arrival]:
        """Rows that arrived within ``timeout`` seconds, as of ``since`` or later, in order. Raises OSError."""

    def commit(self) -> None:
        """Commit the rows of the last poll. Raises OSError."""


class Outbox(Protocol):
    """Publishes curves."""

    def newest(self) -> dict[tuple[str, str], datetime]:
        """issued_at of the newest curve published by now, by use case and entity. Raises OSError."""

    def send(self, forecast: Forecast) -> None:
        """Queue a curve. Raises OSError."""

    def flush(self) -> None:
        """Wait until every queued curve is acknowledged. Raises OSError if one is not."""

    def close(self) -> None:
        """Disconnect. Raises OSError."""
