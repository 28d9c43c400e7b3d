"""Both services under schemathesis: whatever is asked, the answer is one that their OpenAPI documents."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.specs.openapi.schemas import OpenApiSchema

from services.da_svc.app import build_app as build_da
from tests import services_world as world
from tests.unit.services.id_desk import filled_desk

# These answer for as long as one listens.
_ENDLESS = "/api/v1/events"
_FEW = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def day_ahead() -> OpenApiSchema:
    deps = world.da_deps()
    world.fill(deps)
    return schemathesis.openapi.from_asgi("/openapi.json", build_da(deps))


@pytest.fixture
def intraday() -> OpenApiSchema:
    desk = filled_desk()
    desk.curves.add(world.intraday(world.NOW))
    desk.curves.add(world.day_ahead(date(2022, 5, 5)))
    return schemathesis.openapi.from_asgi("/openapi.json", desk.client.app)


of_day_ahead = schemathesis.pytest.from_fixture("day_ahead").exclude(path=_ENDLESS)
of_intraday = schemathesis.pytest.from_fixture("intraday").exclude(path=_ENDLESS)


@of_day_ahead.parametrize()
@_FEW
def test_da_svc_answers_as_documented(case: Case[Any]) -> None:
    case.call_and_validate()


@of_intraday.parametrize()
@_FEW
def test_id_svc_answers_as_documented(case: Case[Any]) -> None:
    case.call_and_validate()
