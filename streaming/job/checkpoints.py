"""Where the job's checkpoints lie, and which one to go on from."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from dualcast.catalogue import UseCase
from dualcast.features.intraday.plan import feature_set
from dualcast.features.plan import FeaturePlan
from dualcast.settings import Settings

# Raise when operators are added, removed or rewired, or the state is stored otherwise: checkpoints then fit no longer.
_TOPOLOGY = 3

# The folder of savepoints, beside those of the runs.
SAVEPOINTS = "savepoints"


def job_name(settings: Settings, use_case: UseCase) -> str:
    """The job's name, consumer group and transaction prefix; another for each form of the state."""
    variables = FeaturePlan.of(use_case, "intraday").variables
    form = f"{feature_set(use_case)} {variables} {use_case.part('intraday').ahead} {_TOPOLOGY} {settings.flink_python}"
    version = hashlib.sha256(form.encode()).hexdigest()[:8]
    return settings.names.group(f"dualcast-features-{use_case.use_case}-{version}")


def folder(settings: Settings, use_case: UseCase) -> Path:
    """The folder of all checkpoints of a use case's job in its present version."""
    return settings.state_dir.resolve() / "flink" / "checkpoints" / job_name(settings, use_case)


def newest(checkpoints: Path) -> Path | None:
    """The newest complete checkpoint of any run, or savepoint, None where there is none."""
    complete = [*checkpoints.glob("*/chk-*/_metadata"), *checkpoints.glob(f"{SAVEPOINTS}/savepoint-*/_metadata")]
    return max(complete, key=lambda m: m.stat().st_mtime_ns).parent if complete else None


def forget_others(checkpoints: Path, kept: Path) -> None:
    """Remove the checkpoints of earlier runs than that of ``kept``, and other savepoints."""
    for run in [*checkpoints.iterdir(), *(checkpoints / SAVEPOINTS).glob("*")]:
        if run not in (kept.parent, kept):
            shutil.rmtree(run, ignore_errors=True)
