"""The folders of the job's checkpoints, and the checkpoint to resume from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import structlog

from dualcast.catalogue import UseCase
from dualcast.features.intraday.plan import feature_set
from dualcast.features.plan import FeaturePlan
from dualcast.settings import Settings

# Increase this when operators are added, removed or connected differently, or when the format of the state changes:
# old checkpoints are then incompatible.
_TOPOLOGY = 3

# The folder of savepoints and that of checksums, next to the folders of the runs.
SAVEPOINTS = "savepoints"
_SEALS = "sealed"
_log = structlog.get_logger(__name__)


def job_name(settings: Settings, use_case: UseCase) -> str:
    """The job's name, consumer group and prefix of transactional ids; it changes with the form of the state."""
    variables = FeaturePlan.of(use_case, "intraday").variables
    form = f"{feature_set(use_case)} {variables} {use_case.part('intraday').ahead} {_TOPOLOGY} {settings.flink_python}"
    version = hashlib.sha256(form.encode()).hexdigest()[:8]
    return settings.names.group(f"dualcast-features-{use_case.use_case}-{version}")


def folder(settings: Settings, use_case: UseCase) -> Path:
    """The folder of all checkpoints of a use case's job in its current form."""
    return settings.state_dir.resolve() / "flink" / "checkpoints" / job_name(settings, use_case)


def complete(checkpoints: Path) -> list[Path]:
    """All complete checkpoints and savepoints of all runs, newest first."""
    found = [*checkpoints.glob("*/chk-*/_metadata"), *checkpoints.glob(f"{SAVEPOINTS}/savepoint-*/_metadata")]
    return [metadata.parent for metadata in sorted(found, key=_changed, reverse=True)]


def newest_undamaged(checkpoints: Path) -> Path | None:
    """The newest complete checkpoint or savepoint whose files are as they were sealed; None if there is none."""
    for checkpoint in complete(checkpoints):
        if _is_undamaged(checkpoints, checkpoint):
            return checkpoint
        _log.error("checkpoint is damaged, taking an older one", checkpoint=str(checkpoint))
    return None


def seal(checkpoints: Path) -> None:
    """Record the checksums of the files of complete checkpoints, and drop the records of those that are gone.

    A full disk leaves them unsealed.
    """
    wanted = {_seal_of(checkpoints, checkpoint): checkpoint for checkpoint in complete(checkpoints)}
    with suppress(OSError):
        (checkpoints / _SEALS).mkdir(parents=True, exist_ok=True)
        for file in set((checkpoints / _SEALS).iterdir()) - wanted.keys():
            file.unlink()
    for file, checkpoint in wanted.items():
        if not file.exists():
            with suppress(OSError):  # Flink may have removed it meanwhile
                file.write_text(json.dumps(_checksums(checkpoint)), encoding="utf-8")


def remove_all_but(checkpoints: Path, kept: Collection[Path]) -> None:
    """Remove the checkpoints of all runs but those of ``kept``, and all other savepoints."""
    keep = {path for checkpoint in kept for path in (checkpoint, checkpoint.parent)} | {checkpoints / _SEALS}
    for run in [*checkpoints.iterdir(), *(checkpoints / SAVEPOINTS).glob("*")]:
        if run not in keep:
            shutil.rmtree(run, ignore_errors=True)


def _changed(metadata: Path) -> int:
    with suppress(FileNotFoundError):
        return metadata.stat().st_mtime_ns
    return 0


def _seal_of(checkpoints: Path, checkpoint: Path) -> Path:
    return checkpoints / _SEALS / f"{checkpoint.parent.name}-{checkpoint.name}.json"


def _checksums(checkpoint: Path) -> dict[str, int]:
    return {file.name: crc32(file.read_bytes()) for file in sorted(checkpoint.iterdir()) if file.is_file()}


def _is_undamaged(checkpoints: Path, checkpoint: Path) -> bool:
    """Whether its files are as sealed; of one that a killed run had no time to seal, that none is empty."""
    try:
        sealed = json.loads(_seal_of(checkpoints, checkpoint).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return all(file.stat().st_size for file in checkpoint.iterdir())
    return bool(sealed == _checksums(checkpoint))
