"""Java archives have the digests of the lock; other files are refused and deleted."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from infra.local.java import artifacts
from infra.local.java.artifacts import Artifact, ArtifactError

CONSOLE = Console(quiet=True)
CONTENT = b"a jar"
JAR = Artifact("broker", "org.example", "thing", "1.2", "", "jar", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUALCAST_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | Exception]:
    """A fake of Maven Central: content by artifact name."""
    content: dict[str, bytes | Exception] = {"thing": CONTENT}

    def get(artifact: Artifact, staging: Path) -> Path:
        found = content[artifact.name]
        if isinstance(found, Exception):
            raise found
        file = staging / "download"
        file.write_bytes(found)
        return file

    monkeypatch.setattr(artifacts, "_maven_get", get)
    monkeypatch.setattr(artifacts, "read_lock", lambda: [JAR])
    return content


def test_every_artifact_is_pinned_and_each_set_is_locked() -> None:
    locked = artifacts.read_lock()
    assert {a.jar_set for a in locked} == {"broker", "registry", "flink", "spark"}
    assert all(len(a.sha256) == 64 and a.version[0].isdigit() for a in locked)
    assert len({(a.jar_set, a.group, a.name) for a in locked}) == len(locked)


def test_a_downloaded_artifact_is_cached(repository: dict[str, bytes | Exception]) -> None:
    assert artifacts.jars("broker") == []
    artifacts.ensure(["broker"], CONSOLE)
    repository["thing"] = RuntimeError("no second download is needed")
    artifacts.ensure(["broker"], CONSOLE)
    assert [path.read_bytes() for path in artifacts.jars("broker")] == [CONTENT]


def test_a_file_with_another_digest_than_the_lock_is_refused_and_deleted(
    repository: dict[str, bytes | Exception], cache: Path
) -> None:
    repository["thing"] = CONTENT[:3]
    with pytest.raises(ArtifactError, match=r"thing.*SHA-256"):
        artifacts.ensure(["broker"], CONSOLE)
    assert not JAR.path.exists()
    assert list((cache / "staging").iterdir()) == []


def test_the_error_of_a_failed_download_names_the_artifact_and_a_remedy(
    repository: dict[str, bytes | Exception],
) -> None:
    repository["thing"] = OSError("the network is down")
    with pytest.raises(ArtifactError, match=r"org\.example:thing:1\.2: the network is down(?s:.)*HTTPS_PROXY"):
        artifacts.ensure(["broker"], CONSOLE)


def test_the_path_follows_the_layout_of_maven(cache: Path) -> None:
    packed = replace(JAR, classifier="all", packaging="tar.gz")
    assert packed.path == cache / "maven/org/example/thing/1.2/thing-1.2-all.tar.gz"


def test_java_starts_although_spark_requests_a_missing_module(tmp_path: Path) -> None:
    home = artifacts.java_home(tmp_path / "java home")
    command = [str(home / "bin" / "java"), "--add-modules=jdk.incubator.vector", "-Dx=a b", "-version"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    assert 'version "21' in answer.stderr
