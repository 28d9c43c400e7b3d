"""The MQTT client: a persistent session, and messages that are acknowledged explicitly."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import structlog
from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

_QOS = 1
_WAITING_MESSAGES = 10_000
_KEEPALIVE_SECONDS = 30
_LONGEST_RECONNECT_SECONDS = 30
_log = structlog.get_logger(__name__)


class MqttSettings(BaseSettings):
    """Address and credentials of the broker."""

    model_config = SettingsConfigDict(env_prefix="DUALCAST_MQTT_")

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    username: str = ""
    password: SecretStr = SecretStr("")


@dataclass(frozen=True)
class Received:
    """A message, and the connection that delivered it: only that connection may acknowledge it."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    connection: int


class Subscription:
    """Receives messages at least once: the broker delivers unacknowledged messages again, also after a restart."""

    def __init__(self, settings: MqttSettings, client_id: str, filters: Sequence[str]) -> None:
        self._settings = settings
        self._filters = list(filters)
        self._waiting: queue.Queue[Received] = queue.Queue(_WAITING_MESSAGES)
        self._connection = 0
        self._lock = threading.Lock()
        # the broker keeps the session of this client id, with messages that arrive while the client is disconnected
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        if settings.username:
            self._client.username_pw_set(settings.username, settings.password.get_secret_value())
        if settings.tls:
            self._client.tls_set()
        self._client.reconnect_delay_set(1, _LONGEST_RECONNECT_SECONDS)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._received

    def __enter__(self) -> Self:
        """Connect in the background, as soon as the broker is available."""
        self._client.connect_async(self._settings.host, self._settings.port, _KEEPALIVE_SECONDS)
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, most: int, timeout: float) -> list[Received]:
        """Take at most ``most`` received messages; wait up to ``timeout`` seconds for the first."""
        found: list[Received] = []
        with suppress(queue.Empty):
            found.append(self._waiting.get(timeout=timeout))
            while len(found) < most:
                found.append(self._waiting.get_nowait())
        return found

    def acknowledge(self, messages: Iterable[Received]) -> None:
        """Acknowledge messages; the broker delivers those of an earlier connection again."""
        for message in messages:
            with self._lock:
                if message.connection == self._connection:
                    self._client.ack(message.mid, message.qos)

    def _connected(
        self, client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            _log.error("the MQTT broker refused the connection", reason=str(code))
            return
        with self._lock:
            self._connection += 1
        client.subscribe([(topic, _QOS) for topic in self._filters])
        _log.info("subscribed", topics=self._filters)

    def _disconnected(self, _client: Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            _log.warning("disconnected from the MQTT broker", reason=str(code))

    def _received(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        with self._lock:
            connection = self._connection
        try:
            topic = message.topic
        except UnicodeDecodeError:  # it would end the client's thread; no entity has such a topic
            topic = "(not UTF-8)"
        self._waiting.put(Received(topic, bytes(message.payload), message.mid, message.qos, connection))
