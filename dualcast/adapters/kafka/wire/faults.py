"""Why a message cannot be decoded."""

from __future__ import annotations

NOT_AVRO = "not_avro"
WRONG_SCHEMA = "wrong_schema"
WRONG_KEY = "wrong_key"
WRONG_SHAPE = "wrong_shape"
TOO_LARGE = "too_large"


class DecodingError(ValueError):
    """A message cannot be decoded: ``reason`` is a short code, ``detail`` explains it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
