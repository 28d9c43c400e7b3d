"""``dualcast decode``: decodes messages of a topic for tools without Avro."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Annotated, BinaryIO

import typer

from dualcast.console import exit_on
from dualcast.records import Topic
from dualcast.settings import load_settings

_LENGTH_BYTES = 4

app = typer.Typer()


@app.command()
def decode(topic: Annotated[Topic, typer.Argument(help="Topic of the messages")]) -> None:
    """Decode messages from standard input, as written by kcat -f '%R%s', to lines of JSON."""
    from dualcast.adapters.kafka.wire.decoder import Decoder  # noqa: PLC0415 -- slow imports come after help texts

    decoder = Decoder(load_settings(), topic)
    with exit_on(ValueError, ConnectionError):
        for value in framed(sys.stdin.buffer):
            typer.echo(json.dumps(decoder.record(value), default=str))


def framed(stream: BinaryIO) -> Iterator[bytes]:
    """Values that are prefixed by their length: four bytes, big endian. Raises ValueError where one is incomplete."""
    while head := stream.read(_LENGTH_BYTES):
        length = int.from_bytes(head, "big")
        value = stream.read(length) if len(head) == _LENGTH_BYTES else b""
        if len(head) < _LENGTH_BYTES or len(value) < length:
            raise ValueError("the input ends within a message; was it written by kcat -f '%R%s'?")
        yield value
