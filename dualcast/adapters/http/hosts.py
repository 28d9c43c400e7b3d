"""Which Host and Origin headers a server accepts: against DNS rebinding, and against pages of other origins.

A page that a browser loaded from another host can reach a server on loopback by a name that resolves to it; only the
Host header shows that name. WebSockets are not subject to the browser's same-origin policy, so the server checks it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

_READING = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\s]+)(?::\d{1,5})?")
_ANY = "*"
# A server that is bound to these has the addresses that clients connect to.
_UNSPECIFIED = {"0.0.0.0", "::"}  # noqa: S104


class Hosts:
    """The names and addresses of a server, and the other origins whose pages may use it. ``usual``: common headers.

    >>> hosts = Hosts("0.0.0.0", 8000, ["da-svc"], ["https://desk.example"])
    >>> [hosts.has(host, "10.0.0.7") for host in (b"localhost:8000", b"[::1]", b"DA-SVC", b"10.0.0.7:80")]
    [True, True, True, True]
    >>> [hosts.has(host, "10.0.0.7") for host in (b"evil.example", b"0.0.0.0:8000", b"localhost.evil.example", b"")]
    [False, False, False, False]
    >>> [hosts.admits(origin, b"da-svc") for origin in (b"http://da-svc", b"https://desk.example", b"null")]
    [True, True, False]
    """

    def __init__(self, bound: str, port: int, names: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        self._names = {"localhost", bound.lower().strip("[]"), *names} - _UNSPECIFIED
        self._origins = {origin.encode() for origin in origins}
        shown = [f"[{name}]" if ":" in name else name for name in (*self._names, "127.0.0.1")]
        self.usual = {host.encode() for name in shown for host in (name, f"{name}:{port}")}

    def has(self, host: bytes, connected: str) -> bool:
        """Whether a Host header names this server; ``connected`` is the address that the client has connected to."""
        if _ANY in self._names:
            return True
        match = _HOST.fullmatch(host.decode("latin-1").lower())
        name = match[1].strip("[]").rstrip(".") if match else ""
        if name in self._names:
            return True
        try:
            address = ip_address(name)
            return address.is_loopback or address == ip_address(connected)
        except ValueError:
            return False

    def admits(self, origin: bytes, host: bytes) -> bool:
        """Whether a page of an origin may use the server that it calls ``host``."""
        return origin.partition(b"://")[2].lower() == host.lower() or origin.lower() in self._origins


def changes_state(method: str) -> bool:
    """Whether a request of this method may change state."""
    return method not in _READING
