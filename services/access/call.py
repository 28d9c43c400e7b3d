"""The call in progress: who makes it, what it is about and what answers it. Routes ask it, and tell it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from dualcast.curves.forecast import Forecast
from services.access.identity import Identity
from services.http.problems import ProblemError

# A call for thousands of entities is told by its first ones: a record of it has to stay small.
_NOTED = 50
_CALL: ContextVar[Call] = ContextVar("call")


@dataclass
class Call:
    """One call of the API, as far as it has come."""

    at: datetime
    identity: Identity
    use_case: str | None = None
    entities: list[str] = field(default_factory=list)
    model_versions: list[str] = field(default_factory=list)
    computed: list[tuple[Forecast, str | None]] = field(default_factory=list)

    def permit_use_case(self, use_case: str) -> None:
        """Note what is asked for. Raises ProblemError 403 where this caller sees nothing of it."""
        self.use_case = use_case[:64]
        if not self.identity.sees_use_case(use_case):
            raise ProblemError(403, "not-permitted", f"{self.identity.name} has no access to {use_case[:64]!r}")

    def permit(self, use_case: str, entity_id: str) -> None:
        """Note what is asked for. Raises ProblemError 403 where this caller may not see it, whether or not it is."""
        self.permit_use_case(use_case)
        _note(self.entities, entity_id[:128])
        if not self.identity.sees(use_case, entity_id):
            text = f"{self.identity.name} has no access to {entity_id[:64]!r} of {use_case[:64]!r}"
            raise ProblemError(403, "not-permitted", text)


def current() -> Call:
    """The call that is being answered. Raises LookupError outside of one: nothing is shown to nobody."""
    return _CALL.get()


def begin(call: Call) -> None:
    """Make a call the current one, for this request."""
    _CALL.set(call)


def note_answer(forecast: Forecast) -> None:
    """Tell which curve answers the current call."""
    _note(current().model_versions, f"{forecast.model_name}/{forecast.model_version}")


def note_computed(forecast: Forecast, fallback: str | None) -> None:
    """Tell which curve was made for the current call: it is published nowhere, and therefore logged."""
    note_answer(forecast)
    current().computed.append((forecast, fallback))


def _note(noted: list[str], text: str) -> None:
    if len(noted) < _NOTED and text not in noted:
        noted.append(text)
