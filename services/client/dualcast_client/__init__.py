"""The Python client of da-svc and id-svc: forecasts as JSON (``Api``) or as pandas frames (``Dualcast``)."""

from __future__ import annotations

from dualcast_client.api import Api
from dualcast_client.client import Dualcast
from dualcast_client.http import AnswerError, UnavailableError

__all__ = ["AnswerError", "Api", "Dualcast", "UnavailableError"]
