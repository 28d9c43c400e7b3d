"""What all tests share: the catalogue's use cases, and the entity that a use case begins with."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualcast.catalogue import Entity, UseCase, load_use_case

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """The use case that the platform begins with."""
    return load_use_case("de_load", ROOT / "use_cases")


@pytest.fixture(scope="session")
def entity(use_case: UseCase) -> Entity:
    """Its first entity."""
    return use_case.entities[0]
