"""Fuzz tests of both services with schemathesis: every response conforms to the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from services.book.archive import Archive, levels_of
from services.da_svc.app import build_app
from tests import access_world
from tests import services_world as world
from tests.unit.services.fake_id_svc import filled_id_service

# This response does not end.
_ENDLESS = "/api/v1/events"
# A request that matches the schema may be refused, e.g. a horizon below one interval. Unknown parameters are ignored.
_NOT_PROMISED: list[Any] = [positive_data_acceptance, negative_data_rejection]
_ENOUGH = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def day_ahead() -> FastAPI:
    deps = world.filled_da_deps()
    return build_app(deps)


def intraday() -> FastAPI:
    id_service = filled_id_service()
    id_service.curves.add(world.intraday(world.NOW))
    id_service.curves.add(world.day_ahead(date(2022, 5, 5)))
    return id_service.app


@pytest.mark.parametrize("make", [day_ahead, intraday])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_response_conforms_to_the_openapi_document(
    make: Callable[[], FastAPI], mode: GenerationMode, tmp_path: Path
) -> None:
    app = make()
    with access_world.store(tmp_path) as store:
        key = {"X-API-Key": access_world.key(store, "operator")}
        deps = app.state.deps
        deps.access = access_world.access(store, rate="1000000/minute")
        deps.archive = Archive(deps.catalogue, deps.circuits, levels_of(access_world.NO_REDIS, store))
        _fuzz(app, key, mode)


def _fuzz(app: FastAPI, key: dict[str, str], mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).exclude(path=_ENDLESS)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) >= 6
    for operation in operations:

        @_ENOUGH
        @given(case=operation.as_strategy(generation_mode=mode))
        def fuzz(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=key, excluded_checks=_NOT_PROMISED)

        with suppress(Unsatisfiable):  # an operation without parameters has no invalid request
            fuzz()
