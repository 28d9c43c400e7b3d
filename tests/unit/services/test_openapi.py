"""The examples in both OpenAPI documents are requests that the service accepts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.da_svc.app import build_app
from tests import services_world as world
from tests.unit.services.fake_id_svc import filled_id_service

_ENDLESS = "/api/v1/events"


def day_ahead() -> TestClient:
    deps = world.filled_da_deps()
    return TestClient(build_app(deps))


def intraday() -> TestClient:
    id_service = filled_id_service()
    id_service.curves.add(world.intraday(world.NOW))
    return id_service.client


def example_requests(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, address and arguments of every operation, with all examples filled in."""
    for address, methods in document["paths"].items():
        for method, operation in methods.items():
            filled, query = address, {}
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    filled = filled.replace(f"{{{parameter['name']}}}", parameter["example"])
                elif "example" in parameter:
                    query[parameter["name"]] = parameter["example"]
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            bodies = [e["value"] for e in content.get("examples", {}).values()]
            for body in bodies or [content.get("example")]:
                yield method, filled, {"params": query} | ({} if body is None else {"json": body})


@pytest.mark.parametrize("make", [day_ahead, intraday])
def test_every_documented_example_is_accepted(make: Any) -> None:
    client = make()
    document = client.get("/openapi.json").json()
    asked = [q for q in example_requests(document) if q[1] != _ENDLESS]
    assert {method for method, *_ in asked} == {"get", "post"}
    for method, address, arguments in asked:
        answer = client.request(method, address, **arguments)
        assert answer.status_code == 200, (method, address, arguments, answer.text)
        for result in answer.json().get("results", ()):
            assert result.get("problem") is None, (address, result)
