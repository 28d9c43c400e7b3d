"""The Python client of da-svc and id-svc: forecasts as pandas frames."""

from __future__ import annotations

from services.client.client import Dualcast
from services.client.http import AnswerError

__all__ = ["AnswerError", "Dualcast"]
