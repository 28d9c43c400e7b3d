"""Settings of all HTTP servers, from ``DUALCAST_*``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
