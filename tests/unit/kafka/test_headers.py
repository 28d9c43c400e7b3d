"""Headers of any bytes: a process that reads them lives, and reads what follows. The client is the real one."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.raw_producer import RawProducer, mock_broker

TOPIC = "any"
READABLE = 50  # so many calls, and CPython has specialised what it can
# Prints each message, its headers, and its headers again.
READER = """
import sys
from confluent_kafka import Consumer, TopicPartition
from dualcast.adapters.kafka.headers import headers_of

consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": "g", "auto.offset.reset": "earliest"})
consumer.assign([TopicPartition("any", 0, 0)])
count = 0
while count < int(sys.argv[2]):
    for message in consumer.consume(500, 1.0):
        print(message.value().decode(), headers_of(message), headers_of(message))
        count += 1
consumer.close()
"""


@pytest.mark.parametrize("name", [b"\xff\xfe", b"trace\xc3\x28", b"\xed\xa0\x80"])
def test_a_header_name_that_is_not_utf8_does_not_end_the_process(name: bytes) -> None:
    names = [b"ce_id"] * READABLE + [name, b"ce_id"] + [name] * 2
    with mock_broker() as bootstrap:
        with closing(RawProducer(bootstrap)) as producer:
            for number, header in enumerate(names):
                producer.send(TOPIC, str(number).encode(), header)
        reader = subprocess.run(
            [sys.executable, "-c", READER, bootstrap, str(len(names))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=Path(__file__).parents[3],
        )
    assert reader.returncode == 0, reader.stderr[-500:]
    expected = [{"ce_id": "1"} if header == b"ce_id" else {} for header in names]
    lines = [line for line in reader.stdout.splitlines() if line[:1].isdigit() and "unreadable" not in line]
    assert lines == [f"{number} {found} {found}" for number, found in enumerate(expected)]
