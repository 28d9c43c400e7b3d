"""The current call: its caller, the entities requested, and the models used. Routes read it and record in it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from dualcast.curves.forecast import Forecast
from services.access.identity import Identity
from services.http.problems import ProblemError

# The most entities and models recorded for one call, so that audit entries stay small.
_MOST_NOTED = 50
# Each is an entry of its own if the others of the call were answered. A batch has at most as many.
_MOST_REFUSED = 200
T = TypeVar("T")
_CALL: ContextVar[Call] = ContextVar("call")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A use case, or an entity of it, that the caller requested and may not see."""

    use_case: str
    entity_id: str | None = None

    @property
    def entities(self) -> list[str]:
        """The entity, if one was requested."""
        return [] if self.entity_id is None else [self.entity_id]


@dataclass
class Call:
    """One call of the API, filled while it is processed."""

    at: datetime
    identity: Identity
    use_case: str | None = None
    entities: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    model_versions: list[str] = field(default_factory=list)
    computed: list[tuple[Forecast, str | None]] = field(default_factory=list)

    def permit_use_case(self, use_case: str) -> None:
        """Record the use case. Raises ProblemError 403 if the caller may see none of its entities."""
        if not self.identity.sees_use_case(use_case):
            self.use_case = self.use_case or use_case[:64]
            _note(self.refused, Refusal(use_case[:64]), _MOST_REFUSED)
            raise ProblemError(403, "not-permitted", f"{self.identity.name} has no access to {use_case[:64]!r}")
        self.use_case = use_case[:64]

    def permit(self, use_case: str, entity_id: str) -> None:
        """Record the entity. Raises ProblemError 403 if the caller may not see it, whether or not it exists."""
        self.permit_use_case(use_case)
        if not self.identity.sees(use_case, entity_id):
            _note(self.refused, Refusal(use_case[:64], entity_id[:128]), _MOST_REFUSED)
            text = f"{self.identity.name} has no access to {entity_id[:64]!r} of {use_case[:64]!r}"
            raise ProblemError(403, "not-permitted", text)
        _note(self.entities, entity_id[:128])


def current() -> Call:
    """The call that is being processed. Raises LookupError outside of a call."""
    return _CALL.get()


def begin(call: Call) -> None:
    """Make a call the current one in this request's context."""
    _CALL.set(call)


def note_answer(forecast: Forecast) -> None:
    """Record the model of a curve that is returned."""
    _note(current().model_versions, f"{forecast.model_name}/{forecast.model_version}")


def note_computed(forecast: Forecast, fallback: str | None) -> None:
    """Record a curve that was computed for this call. It is not published, so the audit trail keeps it."""
    note_answer(forecast)
    current().computed.append((forecast, fallback))


def _note(noted: list[T], value: T, most: int = _MOST_NOTED) -> None:
    if len(noted) < most and value not in noted:
        noted.append(value)
