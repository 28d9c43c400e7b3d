"""Write ``jars.lock``: resolve the artifacts of the broker, the registry, Flink and Spark on Maven Central.

Run by ``make lock``. All versions are exact. Jars that PyFlink or PySpark already contain are excluded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from infra.local.java.artifacts import LOCK_FILE, Artifact, fetch

_SPARK = "org.apache.spark"


@dataclass(frozen=True)
class Request:
    """The direct dependencies of one set as ``group:name:version[:classifier:packaging]``.

    ``provided_by`` names a Python package whose ``jars`` folder is already on the class path.
    """

    jar_set: str
    coordinates: tuple[str, ...]
    provided_by: str = ""
    excluded: frozenset[str] = frozenset()
    transitive: bool = True


REQUESTS = (
    Request(
        "broker", ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:2.0.16", "org.slf4j:slf4j-api:2.0.16")
    ),
    Request("registry", ("io.apicurio:apicurio-registry-app:3.3.3:all:tar.gz",), transitive=False),
    Request("flink", ("org.apache.flink:flink-sql-connector-kafka:5.0.0-2.2",), transitive=False),
    Request(
        "spark",
        (
            f"{_SPARK}:spark-sql-kafka-0-10_2.13:4.2.0",
            f"{_SPARK}:spark-token-provider-kafka-0-10_2.13:4.0.0",  # the latest published version
            "org.apache.kafka:kafka-clients:3.9.2",
            "org.apache.commons:commons-pool2:2.13.1",
            "io.delta:delta-spark_2.13:4.4.0",
        ),
        provided_by="pyspark",
        excluded=frozenset({"shims", "commons-logging"}),  # PySpark's RoaringBitmap and jcl-over-slf4j replace them
    ),
)


def resolve(request: Request) -> list[Artifact]:
    """Return all artifacts of a request, direct dependencies first. Downloads only POMs."""
    import jgo  # noqa: PLC0415 - slow import

    found = {(a.group, a.name): a for a in (_named(request.jar_set, text) for text in request.coordinates)}
    if request.transitive:
        for text in request.coordinates:
            for d in jgo.resolve(text):
                artifact = Artifact(request.jar_set, d.groupId, d.artifactId, d.version, d.classifier, d.packaging, "")
                found.setdefault((artifact.group, artifact.name), artifact)
    provided = _jars_provided_by(request.provided_by)
    return [a for a in found.values() if a.name not in provided | request.excluded]


def _named(jar_set: str, coordinate: str) -> Artifact:
    group, name, version, *rest = coordinate.split(":")
    classifier, packaging = rest or ("", "jar")
    return Artifact(jar_set, group, name, version, classifier, packaging, sha256="")


def _jars_provided_by(package: str) -> set[str]:
    spec = find_spec(package) if package else None
    if spec is None or not spec.submodule_search_locations:
        return set()
    folder = Path(spec.submodule_search_locations[0]) / "jars"
    return {re.split(r"-\d", file.stem)[0] for file in folder.glob("*.jar")}


def write_lock(console: Console) -> None:
    """Resolve and download all artifacts, and write their versions and checksums to ``jars.lock``."""
    lines = ["# set group name version classifier packaging sha256; written by `make lock`"]
    for request in REQUESTS:
        for artifact in resolve(request):
            pinned = replace(artifact, sha256=fetch(artifact))
            console.log(pinned.jar_set, pinned.coordinate)
            fields = (pinned.group, pinned.name, pinned.version, pinned.classifier or "-", pinned.packaging)
            lines.append(" ".join((pinned.jar_set, *fields, pinned.sha256)))
    LOCK_FILE.write_text("\n".join(lines) + "\n")
