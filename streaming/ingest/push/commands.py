"""``dualcast stream push-server``: observations over HTTP to Kafka."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from dualcast import telemetry
from dualcast.catalogue import CatalogueError, load_catalogue
from dualcast.console import exit_on
from dualcast.observations.frames import SourceError
from dualcast.settings import load_settings

app = typer.Typer()
_SHORTEST_KEY = 16


class _Keys(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="DUALCAST_PUSH_")

    key: SecretStr = SecretStr("")


@app.command("push-server")
def push_server(
    host: Annotated[
        str, typer.Option(help="Address to listen on; use other addresses than loopback only behind TLS.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8002,
) -> None:
    """Receive observations over HTTP until stopped: POST /api/v1/observations, with DUALCAST_PUSH_KEY as X-API-Key."""
    with exit_on(SourceError, CatalogueError, status=2):
        key = _Keys().key.get_secret_value()
        if len(key) < _SHORTEST_KEY:
            raise SourceError(f"DUALCAST_PUSH_KEY must be set, to {_SHORTEST_KEY} characters or more")
        settings = load_settings()
        telemetry.configure(settings, "push-server")
        catalogue = load_catalogue(settings.use_cases)

        from dualcast.adapters import http_server  # noqa: PLC0415 -- slow, as the next ones
        from dualcast.adapters.kafka.producer import RecordProducer  # noqa: PLC0415
        from streaming.ingest.push.app import LARGEST_BODY, KafkaDelivery, create_app  # noqa: PLC0415
        from streaming.ingest.push.checks import Rules  # noqa: PLC0415

        producer = RecordProducer(settings, "dualcast/ingest/push")
        served = create_app(Rules(catalogue), KafkaDelivery(producer), key, settings.clock.now)
        http_server.run(http_server.config(served, host, port, largest_body=LARGEST_BODY, log_config=None))
