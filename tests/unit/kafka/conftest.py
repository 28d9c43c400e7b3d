"""Encoders and decoders over a registry in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.registry import MemoryRegistry, memory_registry


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryRegistry]:
    with memory_registry(monkeypatch) as made:
        yield made
