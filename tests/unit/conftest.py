"""What all unit tests share."""

from __future__ import annotations

import pytest

from dualcast import telemetry


@pytest.fixture(autouse=True)
def _logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run inside a test must not send later tests' logs to a stream that is closed by then."""
    monkeypatch.setattr(telemetry, "configure", lambda _settings, _service: None)
