"""A producer of messages whose header names are arbitrary bytes: librdkafka, since confluent-kafka takes only texts."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_char_p, c_int, c_size_t, c_ssize_t, c_void_p
from pathlib import Path

import confluent_kafka

# tags of librdkafka's variadic rd_kafka_producev
_END, _TOPIC, _PARTITION, _VALUE, _HEADERS = 0, 1, 3, 4, 10
_FLUSH_MILLISECONDS = 10_000


class RawProducer:
    """Produces to partition 0 of topics of one broker."""

    def __init__(self, bootstrap: str) -> None:
        (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*")
        self._library = library = ctypes.CDLL(str(path))
        for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
            getattr(library, name).restype = c_void_p
        configuration, error = c_void_p(library.rd_kafka_conf_new()), ctypes.create_string_buffer(512)
        size = c_size_t(len(error))
        library.rd_kafka_conf_set(configuration, b"bootstrap.servers", bootstrap.encode(), error, size)
        self._client = c_void_p(library.rd_kafka_new(c_int(0), configuration, error, size))

    def send(self, topic: str, value: bytes, header: bytes) -> None:
        """Produce a message with one header of this name, and wait for the broker."""
        headers = c_void_p(self._library.rd_kafka_headers_new(c_size_t(1)))
        self._library.rd_kafka_header_add(headers, c_char_p(header), c_ssize_t(len(header)), b"1", c_ssize_t(1))
        body = (
            c_int(_PARTITION),
            c_int(0),
            c_int(_VALUE),
            c_char_p(value),
            c_size_t(len(value)),
            c_int(_HEADERS),
            headers,
        )
        assert not self._library.rd_kafka_producev(
            self._client, c_int(_TOPIC), c_char_p(topic.encode()), *body, c_int(_END)
        )
        assert not self._library.rd_kafka_flush(self._client, c_int(_FLUSH_MILLISECONDS))

    def close(self) -> None:
        """Disconnect."""
        self._library.rd_kafka_destroy(self._client)


@contextmanager
def mock_broker() -> Iterator[str]:
    """The address of a broker that librdkafka runs in this process."""
    owner = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced"})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del owner
