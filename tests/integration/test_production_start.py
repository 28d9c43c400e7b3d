"""da-svc as a process in production: it requires a migrated store, uses TLS, and accepts authenticated callers."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from dualcast.adapters.store.engine import open_store
from tests import access_world, services_world
from tests.databases import free_port
from tests.stacks import ROOT, clean_environment
from tests.waiting import until

STATUS = "/api/v1/status"
_NOWHERE = {"KAFKA": "127.0.0.1:1", "REGISTRY": "http://127.0.0.1:1", "REDIS": "redis://127.0.0.1:1/0"}


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The port of da-svc in a production environment without servers."""
    clean_environment(monkeypatch, tmp_path)
    certificate(tmp_path)
    number = free_port()
    own = {"DA_SVC": f"https://127.0.0.1:{number}", "TLS_CERTIFICATE": str(tmp_path / "cert.pem")}
    own |= {"TLS_KEY": str(tmp_path / "key.pem"), "ENVIRONMENT": "production"}
    for name, value in (_NOWHERE | own).items():
        monkeypatch.setenv(f"DUALCAST_{name}", value)
    return number


def certificate(folder: Path) -> None:
    key = access_world.private_key("tls")
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]), datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def dualcast(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("dualcast")), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def _is_live(client: httpx2.Client) -> bool:
    try:
        return client.get("/health/live").is_success
    except httpx2.TransportError:
        return False


@contextmanager
def da_svc(folder: Path, client: httpx2.Client) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        command = [str(Path(sys.executable).with_name("dualcast")), "serve", "da"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ))
    try:
        until(lambda: process.poll() is not None or _is_live(client), 60)
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_da_svc_starts_with_a_migrated_store_and_audits_calls_over_tls(port: int, tmp_path: Path) -> None:
    refused = dualcast("serve", "da")
    assert refused.returncode == 1
    assert "run `dualcast store migrate`" in refused.stderr
    assert dualcast("store", "migrate").returncode == 0
    key = dualcast("keys", "create", "desk", "--role", "reader", "--access", "de_load/*").stdout.strip()
    trust = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with (
        httpx2.Client(base_url=f"https://127.0.0.1:{port}", verify=trust, timeout=5) as client,
        da_svc(tmp_path, client) as process,
    ):
        assert client.get(STATUS).status_code == 401
        answer = client.get(STATUS, headers={"X-API-Key": key})
        assert (answer.status_code, answer.headers["ratelimit-limit"]) == (200, "600")
        revoked = re.search(r"dck_([0-9a-f]+)_", key)
        assert revoked is not None
        dualcast("keys", "revoke", revoked[1])
        until(lambda: client.get(STATUS, headers={"X-API-Key": key}).status_code == 401, 15)
        process.terminate()
        assert process.wait(20) in (0, -15), (tmp_path / "log").read_text()
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"http://127.0.0.1:{port}/health/live", timeout=2)
    engine = open_store(services_world.settings(services_world.frozen(), state_dir=tmp_path))
    with engine.connect() as connection:
        found = connection.execute(text("SELECT identity, status FROM audit ORDER BY id")).all()
    engine.dispose()
    assert found[0] == ("nobody", 401)
    assert found[1][1] == 200
    assert found[1][0].startswith("key:")
    assert key.split("_", 2)[2] not in (tmp_path / "log").read_text()
