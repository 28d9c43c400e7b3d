"""``dualcast stream ...``: commands that publish observations to Kafka and compute features from them."""

from __future__ import annotations

import typer

from streaming.ingest.commands import app as ingest
from streaming.ingest.mqtt.commands import app as mqtt
from streaming.ingest.pull.commands import app as pull
from streaming.ingest.push.commands import app as push
from streaming.job.commands import app as job

app = typer.Typer(
    name="stream",
    no_args_is_help=True,
    help="Publish observations to Kafka (history, replay, pull, push, MQTT) and compute features from them.",
)
app.add_typer(ingest)
app.add_typer(pull)
app.add_typer(mqtt)
app.add_typer(push)
app.add_typer(job)
