"""The folders of the job's checkpoints, and the checkpoint to resume from."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from dualcast.catalogue import UseCase
from dualcast.features.intraday.plan import feature_set
from dualcast.features.plan import FeaturePlan
from dualcast.settings import Settings

# Increase this when operators are added, removed or connected differently, or when the format of the state changes:
# old checkpoints are then incompatible.
_TOPOLOGY = 3

# The folder of savepoints, next to the folders of the runs.
SAVEPOINTS = "savepoints"


def job_name(settings: Settings, use_case: UseCase) -> str:
    """The job's name, consumer group and prefix of transactional ids; it changes with the form of the state."""
    variables = FeaturePlan.of(use_case, "intraday").variables
    form = f"{feature_set(use_case)} {variables} {use_case.part('intraday').ahead} {_TOPOLOGY} {settings.flink_python}"
    version = hashlib.sha256(form.encode()).hexdigest()[:8]
    return settings.names.group(f"dualcast-features-{use_case.use_case}-{version}")


def folder(settings: Settings, use_case: UseCase) -> Path:
    """The folder of all checkpoints of a use case's job in its current form."""
    return settings.state_dir.resolve() / "flink" / "checkpoints" / job_name(settings, use_case)


def newest(checkpoints: Path) -> Path | None:
    """The newest complete checkpoint or savepoint of any run; None if there is none."""
    complete = [*checkpoints.glob("*/chk-*/_metadata"), *checkpoints.glob(f"{SAVEPOINTS}/savepoint-*/_metadata")]
    return max(complete, key=lambda m: m.stat().st_mtime_ns).parent if complete else None


def remove_others(checkpoints: Path, kept: Path) -> None:
    """Remove the checkpoints of all runs but that of ``kept``, and all other savepoints."""
    for run in [*checkpoints.iterdir(), *(checkpoints / SAVEPOINTS).glob("*")]:
        if run not in (kept.parent, kept):
            shutil.rmtree(run, ignore_errors=True)
