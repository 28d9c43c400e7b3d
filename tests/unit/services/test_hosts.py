"""Hosts and origins on a real socket: DNS rebinding, pages of other origins, TLS versions, headers of answers."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from services.da_svc.app import build_app
from tests import access_world
from tests import services_world as world
from tests.served import served

PROBLEM = "application/problem+json"
DAY_AHEAD = "/api/v1/forecasts/day-ahead"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """An open da-svc on a real socket."""
    deps = world.da_deps()
    deps.curves.add(world.day_ahead(date(2022, 5, 4)))
    with served(build_app(deps)) as url:
        yield url


def port_of(address: str) -> int:
    return urlsplit(address).port or 0


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:{port}", "10.1.2.3", "a@localhost"]
)
@pytest.mark.parametrize("path", [f"{DAY_AHEAD}/DE", "/", "/health/live", "/nothing"])
def test_another_host_is_refused(address: str, host: str, path: str) -> None:
    answer = httpx2.get(f"{address}{path}", headers={"Host": host.format(port=port_of(address))})
    assert (answer.status_code, answer.headers["content-type"]) == (421, PROBLEM)
    assert "DUALCAST_ALLOWED_HOSTS" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "127.0.0.2", "[::1]:{port}"])
def test_loopback_names_are_accepted(address: str, host: str) -> None:
    answer = httpx2.get(f"{address}{DAY_AHEAD}/DE", headers={"Host": host.format(port=port_of(address))})
    assert answer.status_code == 200


@pytest.mark.parametrize("lines", [[], ["Host: localhost", "Host: evil.example"]])
def test_a_request_without_one_host_is_refused(address: str, lines: list[str]) -> None:
    with socket.create_connection(("127.0.0.1", port_of(address)), timeout=5) as connection:
        connection.sendall("\r\n".join(["GET / HTTP/1.1", *lines, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_hosts_of_the_settings_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALCAST_ALLOWED_HOSTS", "dualcast.example, da-svc")
    with served(build_app(world.da_deps())) as address:
        statuses = [
            httpx2.get(f"{address}/health/live", headers={"Host": host}).status_code
            for host in ("dualcast.example", "da-svc:8000", "other.example")
        ]
    assert statuses == [200, 200, 421]


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:1", "null"])
def test_a_page_of_another_origin_opens_no_websocket_and_changes_nothing(address: str, origin: str) -> None:
    own = f"http://127.0.0.1:{port_of(address)}"
    url = f"{address.replace('http', 'ws')}/api/v1/ws?path=day-ahead"
    with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers={"Origin": origin}):
        pass
    assert refused.value.response.status_code == 403
    assert refused.value.response.headers["content-type"] == PROBLEM
    with connect(url, additional_headers={"Origin": own}) as opened:
        assert json.loads(opened.recv(timeout=10))["entity_id"] == "DE"
    body = {"entity_id": "DE"}
    statuses = [
        httpx2.post(f"{address}/api/v1/predict", json=body, headers={"Origin": o}).status_code for o in (origin, own)
    ]
    assert statuses == [403, 200]


def test_a_websocket_for_another_host_is_refused(address: str) -> None:
    url = f"ws://evil.example:{port_of(address)}/api/v1/ws"
    target = socket.create_connection(("127.0.0.1", port_of(address)), timeout=5)
    with pytest.raises(InvalidStatus) as refused, connect(url, sock=target):
        pass
    assert refused.value.response.status_code == 421


def test_origins_of_the_settings_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUALCAST_ALLOWED_ORIGINS", "https://desk.example/")
    deps = world.da_deps()
    deps.curves.add(world.day_ahead(date(2022, 5, 4)))
    with served(build_app(deps)) as address:
        headers = {"Origin": "https://desk.example"}
        assert httpx2.post(f"{address}/api/v1/predict", json={"entity_id": "DE"}, headers=headers).status_code == 200


def test_no_answer_repeats_the_host(address: str) -> None:
    headers = {"Host": "localhost:6666"}
    listed = httpx2.get(f"{address}{DAY_AHEAD}?entity_id=DE&entity_id=XX&limit=1", headers=headers)
    assert listed.headers["link"] == f'<{DAY_AHEAD}?entity_id=DE&entity_id=XX&limit=1&cursor=DE>; rel="next"'
    for path in ("/api/v1/status/", "/docs/", "/page", "//evil.example/docs", "/health/live/"):
        answer = httpx2.get(f"{address}{path}", headers=headers)
        assert "6666" not in str(answer.headers) + answer.text
        assert "evil" not in answer.headers.get("location", "")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a self-signed certificate for 127.0.0.1, and its key."""
    key, now = access_world.private_key("tls"), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def handshake(address: str, version: ssl.TLSVersion) -> str | None:
    """The version of TLS that is negotiated if the client offers one only; None: refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    raw = socket.create_connection(("127.0.0.1", port_of(address)), 5)
    with suppress(ssl.SSLError, ConnectionError), raw, context.wrap_socket(raw) as secured:
        return secured.version()
    return None


@pytest.mark.parametrize(
    ("environment", "setting", "accepted"),
    [
        ("demo", "", [None, "TLSv1.2", "TLSv1.3"]),
        ("production", "", [None, None, "TLSv1.3"]),
        ("production", "1.2", [None, "TLSv1.2", "TLSv1.3"]),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_of_tls_are_refused_and_browsers_are_told_to_use_it(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, environment: str, setting: str, accepted: list[str | None]
) -> None:
    monkeypatch.setenv("DUALCAST_ENVIRONMENT", environment)
    monkeypatch.setenv("DUALCAST_TLS_MINIMUM", setting)
    with served(build_app(world.da_deps()), ssl_certfile=str(certificate)) as address:
        versions = (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
        assert [handshake(address, version) for version in versions] == accepted
        answer = httpx2.get(f"{address.replace('http', 'https')}/health/live", verify=False)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_plain_http_has_no_transport_security(address: str) -> None:
    assert "strict-transport-security" not in httpx2.get(f"{address}/health/live").headers
