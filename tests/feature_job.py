"""Run the real Flink job as users do, and read its output topics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from dualcast.adapters.kafka.offsets import Offsets
from dualcast.adapters.kafka.producer import RecordProducer
from dualcast.adapters.kafka.readers import published
from dualcast.features.rows import FeatureRows
from dualcast.records import FeatureRow, Observation, ObservationBatch, Topic
from dualcast.settings import Settings

TIMEOUT_SECONDS = 240
_DUALCAST = Path(sys.executable).with_name("dualcast")


class FeatureJob:
    """A process that runs ``dualcast stream features``."""

    def __init__(self, use_case: str, log: Path, parallelism: int) -> None:
        command = [str(_DUALCAST), "stream", "features", "--use-case", use_case, "--parallelism", str(parallelism)]
        environment = {**os.environ, "DUALCAST_FLINK_CHECKPOINT_SECONDS": "2"}
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)

    def kill(self) -> None:
        """Kill the job with SIGKILL."""
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> float:
        """Stop the job with SIGTERM and return the duration in seconds."""
        begin = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        return time.monotonic() - begin


@contextmanager
def feature_job(use_case: str, log: Path, parallelism: int = 1) -> Iterator[FeatureJob]:
    """Run the job during a ``with`` block."""
    job = FeatureJob(use_case, log, parallelism)
    try:
        yield job
    finally:
        job.kill()


def wait_caught_up(use_case: str, until: str, log: Path, seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until the job has processed all published observations. Fails with the end of its log."""
    command = [str(_DUALCAST), "stream", "wait-caught-up", "--use-case", use_case, "--until", until]
    command += ["--timeout", str(seconds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    assert done.returncode == 0, (
        f"exited with code {done.returncode}\n{done.stdout}{done.stderr}\n{log.read_text()[-3000:]}"
    )


def publish(settings: Settings, entity_id: str, frame: pd.DataFrame, chunk: int) -> None:
    """Publish observations of one entity in messages of ``chunk`` observations."""
    observations = as_observations(frame)
    with RecordProducer(settings, "test") as producer:
        for i in range(0, len(observations), chunk):
            batch = ObservationBatch(entity_id, observations[i : i + chunk])
            producer.send(Topic.OBSERVATIONS, entity_id, batch, batch.observations[-1].published_at)


def as_observations(frame: pd.DataFrame) -> list[Observation]:
    """Convert the rows of ``histories.history`` to records."""
    return [
        Observation(
            str(o.variable),
            o.valid_time.to_pydatetime(),
            str(o.resolution),
            float(o.value),
            str(o.unit),
            o.published_at.to_pydatetime(),
            "test",
            True,
        )
        for o in frame.itertuples()
    ]


def published_rows(settings: Settings) -> dict[str, list[FeatureRow]]:
    """Return all committed feature rows by entity, in order."""
    rows: dict[str, list[FeatureRow]] = defaultdict(list)
    for record in published(settings, Topic.FEATURES_INTRADAY):
        for row in FeatureRows.from_record(record).one_by_one():
            rows[row.entity_id].append(row)
    return dict(rows)


def dead_letters(settings: Settings) -> Sequence[dict[str, object]]:
    """Return all dead letters."""
    return list(published(settings, Topic.DEAD_LETTERS))


def written(settings: Settings, topic: Topic) -> int:
    """Return the number of messages written to a topic, including those of open transactions."""
    return sum(Offsets(settings).ends(settings.names.topic(topic)).values())
