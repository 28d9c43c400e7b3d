"""Settings of all HTTP servers, from ``DUALCAST_*``."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

# Of the files that a process may open, connections may take this part, and at most this number.
_PART_OF_FILES, _MOST = 0.75, 4096


class HttpSettings(BaseSettings):
    """Field ``x`` is read from ``DUALCAST_X``."""

    model_config = SettingsConfigDict(env_prefix="DUALCAST_", extra="ignore", frozen=True, hide_input_in_errors=True)

    environment: Literal["demo", "production"] = "demo"
    allowed_hosts: str = Field(
        "",
        description="names and addresses, comma-separated, that a Host header may have besides loopback and the "
        "address of the server; * for any",
    )
    allowed_origins: str = Field(
        "",
        description="origins, comma-separated, such as https://desk.example, whose pages may open WebSockets and "
        "change state besides those of the server itself",
    )
    tls_minimum: Literal["", "1.2", "1.3"] = Field(
        "", description="lowest version of TLS; empty: 1.3 in production, else 1.2"
    )

    most_connections: int = Field(
        0,
        ge=0,
        description="open connections of a server; 0: three quarters of the files that it may open, 4096 at most",
    )
    most_connections_of_address: int = Field(
        0, ge=0, description="of these, from one address that is no trusted proxy; 0: half"
    )
    head_seconds: float = Field(10, gt=0, description="time in which the headers of a request must arrive")
    body_seconds: float = Field(30, gt=0, description="time in which its body must arrive")
    most_in_flight: int = Field(32, ge=1, description="requests that a server processes at once; others wait")
    queue_seconds: float = Field(0.3, ge=0, description="time that a request waits before it is refused with 503")

    @property
    def connections(self) -> int:
        """The most open connections."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self.most_connections or min(int(_PART_OF_FILES * files), _MOST)

    @property
    def connections_of_address(self) -> int:
        """The most open connections of one address."""
        return self.most_connections_of_address or self.connections // 2

    @property
    def hosts(self) -> list[str]:
        """``allowed_hosts`` as a list."""
        return _listed(self.allowed_hosts)

    @property
    def origins(self) -> list[str]:
        """``allowed_origins`` as a list."""
        return _listed(self.allowed_origins)

    @property
    def lowest_tls(self) -> str:
        """The lowest version of TLS."""
        return self.tls_minimum or ("1.3" if self.environment == "production" else "1.2")


def load_http_settings(state_dir: Path) -> HttpSettings:
    """Read the settings from the environment or else from the embedded stack's ``stack.env``. Raises ValueError."""
    return HttpSettings(_env_file=state_dir / "stack.env")


def _listed(text: str) -> list[str]:
    return [found for part in text.split(",") if (found := part.strip().lower().rstrip("/"))]
