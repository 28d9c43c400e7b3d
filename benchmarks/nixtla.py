"""The peer of the batch path: Nixtla's mlforecast on the same series, in an environment that is created for the run."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dualcast.catalogue import UseCase

_VERSION = "1.1.0"
_ROOT = Path(__file__).parent.parent
_SECONDS = 1800


@dataclass(frozen=True)
class Peer:
    """Seconds that mlforecast needed to fit, and to forecast the next days of every series."""

    fit: float
    predict: float
    predictions: int
    version: str


def measure_peer(use_case: UseCase, observations: pd.DataFrame, folder: Path) -> Peer:
    """Run mlforecast on the target of some observations, which are those of one time zone.

    Raises FileNotFoundError where there is no uv, CalledProcessError where its environment cannot be made.
    """
    target = observations[observations["variable"] == use_case.target]
    local = target["valid_time"].dt.tz_convert(use_case.entities[0].time_zone).dt.tz_localize(None)
    series = pd.DataFrame({"unique_id": target["entity_id"], "ds": local.dt.as_unit("ns"), "y": target["value"]})
    file = folder / "series.parquet"
    series.to_parquet(file, index=False)
    uv = shutil.which("uv") or str(_ROOT / ".uv" / "bin" / "uv")
    packages = [f"--with=mlforecast=={_VERSION}", "--with=lightgbm", "--with=pyarrow"]
    program = str(Path(__file__).with_name("nixtla_program.py"))
    command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python=3.11", *packages, "python", program]
    done = subprocess.run(
        [*command, str(file), str(use_case.day_ahead.days)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return Peer(**json.loads(done.stdout.splitlines()[-1]))
