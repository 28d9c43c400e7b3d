"""The Kafka broker of the embedded stack."""

from __future__ import annotations

import shlex
from base64 import urlsafe_b64encode
from uuid import uuid4

from dotenv import dotenv_values

from infra.local.component import QUICK_START, LaunchContext
from infra.local.files import write_atomically
from infra.local.java import artifacts
from infra.local.ports import LOOPBACK


def command(context: LaunchContext) -> list[str]:
    """Format the data folder at the first start, then run the broker."""
    folder = context.folder("kafka")
    config = folder / "server.properties"
    config.write_text(_PROPERTIES.format(host=LOOPBACK, data=folder / "data", **context.ports))
    logging = "-Dorg.slf4j.simpleLogger.showDateTime=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    serve = context.java("-Xms192m", "-Xmx512m", *logging, "kafka.Kafka", str(config))
    if (folder / "data" / "meta.properties").exists():
        return serve
    storage = ("kafka.tools.StorageTool", "format", "--cluster-id", _cluster_id(context), "--ignore-formatted")
    form = context.java(QUICK_START, "-Xmx128m", *logging, *storage, "--config", str(config))
    return ["/bin/sh", "-c", f"{shlex.join(form)} && exec {shlex.join(serve)}"]


def _cluster_id(context: LaunchContext) -> str:
    """The identity of this folder's broker, by which a client notices that it has reached another."""
    folder = context.folder("kafka")
    formatted = dotenv_values(folder / "data" / "meta.properties", interpolate=False).get("cluster.id")
    if formatted:  # perhaps by an earlier version
        return formatted
    file = folder / "cluster.id"
    if not file.exists():
        write_atomically(file, urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "_"))
    return file.read_text()


def published(context: LaunchContext) -> dict[str, str]:
    """The identity of the broker, for ``stack.env``."""
    return {"DUALCAST_KAFKA_CLUSTER": _cluster_id(context)}


def environment(_: LaunchContext) -> dict[str, str]:
    """The class path of the broker."""
    return {"CLASSPATH": ":".join(str(jar) for jar in artifacts.jars("broker"))}


# Retention is unlimited: a replay has old timestamps, so its events would be deleted immediately. The session timeout
# is short because a killed broker can register again only after its previous session has expired.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{kafka_controller}
listeners=BROKER://{host}:{kafka},CONTROLLER://{host}:{kafka_controller}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
log.dirs={data}
log.retention.ms=-1
log.segment.bytes=67108864
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.max.timeout.ms=3600000
group.initial.rebalance.delay.ms=0
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
"""
