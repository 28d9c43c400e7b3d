"""The compose file follows our rules: loopback addresses, no default secrets, limits, least privileges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.component import LaunchContext
from infra.local.components import COMPONENTS
from infra.local.state import StateDir

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_every_server_has_a_health_check() -> None:
    waited_for = {need for service in SERVICES.values() for need in service.get("depends_on", {})}
    assert {"kafka", "registry", "redis", "mlflow"} <= waited_for
    assert all("healthcheck" in SERVICES[name] for name in waited_for)


def test_no_secret_has_a_default() -> None:
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|KEYS|TOKEN|SECRET)\w*)(:?.)", TEXT)
    assert {name for name, _ in secrets} == {"REDIS_PASSWORD", "STORE_PASSWORD"}
    assert {operator for _, operator in secrets} == {":?"}


def test_the_example_environment_has_every_variable() -> None:
    named = set(re.findall(r"^(\w+)=", (ROOT / "infra/compose/env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT)) == named


def test_containers_run_the_commands_of_the_embedded_stack(tmp_path: Path) -> None:
    context = LaunchContext(StateDir(tmp_path), tmp_path, ports={})
    for name in ("features", "day-ahead", "recorder", "da-svc", "id-svc"):
        assert SERVICES[name]["command"][0] == "dualcast"
        assert SERVICES[name]["command"][1:] == COMPONENTS[name].command(context)[1:]


def test_images_are_pinned_and_private_files_are_excluded() -> None:
    images = [service["image"] for service in SERVICES.values() if not service["image"].startswith("dualcast-")]
    assert all(":" in image and not image.endswith(":latest") for image in images)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".dualcast", ".env"} <= set(ignored)
