"""``dualcast stream mqtt``: telemetry over MQTT to Kafka."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import structlog
import typer

from dualcast.adapters.kafka.dead_letters import Refused, dead_letter
from dualcast.catalogue import CatalogueError
from dualcast.console import UseCaseName, configured, exit_on
from dualcast.heartbeat import beat
from dualcast.observations.frames import SourceError
from streaming.ingest.console import exit_code
from streaming.ingest.mqtt.payloads import NAME, Mapping, PayloadError, RepeatFilter
from streaming.ingest.signals import Stop

if TYPE_CHECKING:
    from streaming.ingest.mqtt.client import Received, Subscription
    from streaming.ingest.publisher import Publisher

app = typer.Typer()
_MOST = 1000
_WAIT_SECONDS = 0.2
_log = structlog.get_logger(__name__)


@app.command()
def mqtt(use_case: UseCaseName = None) -> None:
    """Publish observations from MQTT until stopped. DUALCAST_MQTT_HOST is the broker, the use case lists the topics.

    A message is acknowledged when Kafka has acknowledged it; until then the broker delivers it again.
    """
    with exit_on(SourceError, CatalogueError, status=2):
        settings, case = configured(use_case, "ingest-mqtt")
        mapping = Mapping(case)
        if not mapping.filters:
            raise SourceError(f"{case.use_case} has no series of {NAME!r} in its 'sources'")
        from streaming.ingest.mqtt.client import MqttSettings, Subscription  # noqa: PLC0415 -- only this command needs it
        from streaming.ingest.publisher import Publisher  # noqa: PLC0415

        subscription = Subscription(MqttSettings(), settings.names.group(f"dualcast-{case.use_case}"), mapping.filters)
        with Stop() as stop, exit_code(stop), Publisher(settings, NAME, stop) as publisher:
            publisher.prepare()
            with subscription:
                forward(subscription, mapping, publisher, stop, settings.clock.now)


def forward(
    subscription: Subscription, mapping: Mapping, publisher: Publisher, stop: Stop, now: Callable[[], datetime]
) -> None:
    """Publish messages, then acknowledge them, until stopped. Raises Stopped."""
    repeats = RepeatFilter()
    while not stop.requested:
        beat()
        received = subscription.take(_MOST, _WAIT_SECONDS)
        rows = [row for message in received for row in _rows(mapping, message, publisher, now())]
        fresh = list(repeats.without(rows))
        if fresh:
            publisher.publish(mapping.frame(fresh), _MOST)
        subscription.acknowledge(received)


def _rows(mapping: Mapping, message: Received, publisher: Publisher, now: datetime) -> list[dict[str, object]]:
    try:
        return mapping.rows(message.topic, message.payload, now)
    except PayloadError as error:
        reason, detail = error.reason, error.detail
    except Exception as error:  # noqa: BLE001 -- whatever a message causes must not cost those after it
        reason, detail = "unusable", repr(error)
    _log.warning("unusable message", topic=message.topic, reason=reason, error=detail[:300])
    refused = Refused(None, message.payload, f"mqtt:{message.topic}", -1, message.mid)
    publisher.send_dead_letter(dead_letter(refused, reason, detail, "ingest-mqtt", now))
    return []
