"""The OpenAPI document of a service. Its examples name use cases and entities that the service has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from dualcast.catalogue import Path_, UseCase
from dualcast.features.plan import FeaturePlan
from dualcast.timegrid import iso_duration
from services.access.gate import document_gate

# Schemas of FastAPI's own validation error, which the services return as a problem.
_UNUSED = ("HTTPValidationError", "ValidationError")


def described(app: FastAPI, use_case: UseCase, path: Path_, *, what_if: bool) -> Callable[[], dict[str, Any]]:
    """A function that makes the document once.

    ``path`` is the path of the service's predictions, ``what_if`` whether they take feature values.
    """

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            for name in _UNUSED:
                schema.get("components", {}).get("schemas", {}).pop(name, None)
            requests = _requests(use_case, path, what_if=what_if)
            for address, operation in _operations(schema):
                _fill_parameters(operation, use_case, path)
                _fill_body(address, operation, requests)
            document_gate(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    return describe


def _requests(use_case: UseCase, path: Path_, *, what_if: bool) -> dict[str, dict[str, Any]]:
    """Example bodies of ``POST /api/v1/predict`` by name."""
    entity_id, step = use_case.entities[0].id, iso_duration(use_case.part(path).resolution)
    found: dict[str, dict[str, Any]] = {
        "whole": {"entity_id": entity_id},
        "first_interval": {"entity_id": entity_id, "horizon": step, "include_confidence": False},
        "by_a_model": {"entity_id": entity_id, "use_case": use_case.use_case, "model_version": "champion"},
    }
    if what_if:
        plan = FeaturePlan.of(use_case, path)
        feature = next((name for name in plan.levels if name != plan.scale), plan.names[0])
        found["what_if"] = {"entity_id": entity_id, "features": {feature: None}}
    return found


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for address, methods in schema["paths"].items():
        yield from ((address, operation) for operation in methods.values())


def _fill_parameters(operation: dict[str, Any], use_case: UseCase, path: Path_) -> None:
    known = {"entity_id": use_case.entities[0].id, "use_case": use_case.use_case, "path": path}
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in known:
            value = known[parameter["name"]]
            several = parameter["name"] == "entity_id" and parameter["in"] == "query"
            parameter["example"] = [value] if several else value


def _fill_body(address: str, operation: dict[str, Any], requests: dict[str, dict[str, Any]]) -> None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    if address.endswith("/batch"):
        content["example"] = {"requests": list(requests.values())}
    else:
        content["examples"] = {name: {"value": value} for name, value in requests.items()}
