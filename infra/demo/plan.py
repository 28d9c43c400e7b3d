"""The steps of the demo: the command of each step and the steps that it depends on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from functools import partial
from pathlib import Path

from pydantic import AwareDatetime, BaseModel
from rich.console import Console

from dualcast.timegrid import Clock
from infra.demo.result import Score, read_scores
from infra.demo.steps import Step, StepError
from infra.local import stack
from infra.local.state import ProcessId, StateDir

# Time for the services to start before the replay clock does. The batch daemon starts Spark later and catches up.
_LEAD = timedelta(seconds=15)
_TIMEOUT_SECONDS = 120.0
_ERROR_LINES = 15


@dataclass(frozen=True)
class Options:
    """The options of ``dualcast demo``."""

    use_case: str
    data: Path | None
    mapping: Path | None
    start: date | None
    days: int
    speed: float


class Window(BaseModel):
    """The replay window as reported by the source; all data before ``start`` is history."""

    start: AwareDatetime
    until: AwareDatetime


class Plan:
    """The steps of one demo. ``find_window`` sets ``window``; steps set ``clock`` and ``scores`` when they finish."""

    def __init__(self, options: Options, state: StateDir, environment: Mapping[str, str]) -> None:
        self._options = options
        self._state = state
        self._environment = environment
        self._console = Console(quiet=True)
        self.window: Window | None = None
        self.clock: Clock | None = None
        self.scores: dict[str, dict[str, Score]] = {}

    def find_window(self) -> None:
        """Read the input and find the days to replay. Changes no file. Raises StepError if the input is unusable."""
        start = ("--start", self._options.start.isoformat()) if self._options.start else ()
        days = ("--days", str(self._options.days))
        self.window = Window.model_validate_json(self._output_of("stream", "window", *self._source(), *days, *start))

    def preparation(self) -> list[Step]:
        """Return the steps from starting the servers to starting the replay."""
        return [
            Step("servers", "Kafka, schema registry, Redis", call=partial(self._start, "kafka", "registry", "redis")),
            Step("mlflow", "MLflow", call=partial(self._start, "mlflow")),
            Step(
                "history",
                "publish the history",
                partial(self._until_replay_start, "stream", "history"),
                after=("servers",),
            ),
            Step("features", "start the Flink job", call=self._start_features, after=("history",)),
            Step(
                "lake",
                "Spark: bronze, silver, gold",
                partial(self._until_replay_start, "run", "history"),
                after=("history",),
            ),
            Step(
                "train-day-ahead",
                "train the day-ahead model",
                partial(self._until_replay_start, "train", "day-ahead"),
                after=("lake", "mlflow"),
            ),
            Step(
                "caught-up",
                "Flink: features of the history",
                partial(self._until_replay_start, "stream", "wait-caught-up"),
                after=("features",),
            ),
            Step(
                "archive",
                "Spark: archive the features",
                partial(self._dualcast, "run", "archive"),
                after=("lake", "caught-up"),
            ),
            Step(
                "train-intraday",
                "train the intraday model",
                partial(self._until_replay_start, "train", "intraday"),
                after=("archive", "mlflow"),
            ),
            Step(
                "start-replay",
                "start the clock and the services",
                call=self._start_replay,
                after=("train-day-ahead", "train-intraday"),
            ),
        ]

    def scoring(self) -> list[Step]:
        """Return the steps that export the forecasts from Kafka and compute their errors."""
        done = ("export-day-ahead", "export-intraday")
        return [
            Step("export-day-ahead", "export day-ahead forecasts", partial(self._export, "day-ahead")),
            Step("export-intraday", "export intraday forecasts", partial(self._export, "intraday")),
            Step("score-day-ahead", "score day-ahead forecasts", call=partial(self._score, "day-ahead"), after=done),
            Step("score-intraday", "score intraday forecasts", call=partial(self._score, "intraday"), after=done),
        ]

    @property
    def exports(self) -> Path:
        """The folder for the exported tables."""
        return self._state.root / "exports"

    def exported(self, name: str) -> Path:
        """Return the path of an exported table."""
        return self.exports / f"{name}.parquet"

    def _start(self, *components: str) -> None:
        o = self._options
        use_case = ("--use-case", o.use_case)
        arguments = {"features": use_case, "day-ahead": use_case, "replay": (*use_case, *self._source())}
        stack.start(
            self._state,
            components,
            console=self._console,
            arguments=arguments,
            owner=ProcessId.of_this_process(),
        )

    def _export(self, path: str) -> list[str]:
        """Return the command that exports curves, and actuals on the grid of the same path."""
        files = ("--out", str(self.exported(path)), "--actuals", str(self.exported(f"{path}-actuals")))
        return self._dualcast("export", "--path", path, *files)

    def _score(self, path: str) -> None:
        files = ("--forecasts", str(self.exported(path)), "--actuals", str(self.exported(f"{path}-actuals")))
        self.scores[path] = read_scores(self._output_of("score", "--path", path, *files, "--json"))

    def _output_of(self, *command: str) -> str:
        """Run a command and return its standard output. Raises StepError with the end of its standard error."""
        result = subprocess.run(
            self._dualcast(*command),
            env=dict(self._environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        if result.returncode != 0:
            last = "\n".join(result.stderr.splitlines()[-_ERROR_LINES:])
            raise StepError(f"`dualcast {' '.join(command)}` failed:\n{last}")
        return result.stdout

    def _start_features(self) -> None:
        """Start with a clock fixed at the start of the replay: by real time, all replayed data would be overdue."""
        assert self.window is not None
        begin, speed = self.window.start, self._options.speed
        self._set_clock(Clock(start=begin, until=begin, epoch=Clock().now(), speed=speed))
        self._start("features")

    def _start_replay(self) -> None:
        assert self.window is not None
        self.clock = Clock(
            start=self.window.start,
            until=self.window.until,
            epoch=Clock().now() + _LEAD,
            speed=self._options.speed,
        )
        self._set_clock(self.clock)
        self._start("day-ahead", "replay", "da-svc", "id-svc", "recorder")

    def _set_clock(self, clock: Clock) -> None:
        """Write the clock to ``stack.env`` for processes that start later and for the Flink job, which polls it."""
        settings = {"DUALCAST_CLOCK": clock.model_dump_json(), "DUALCAST_USE_CASE": self._options.use_case}
        self._state.update_stack_env(settings)

    def _source(self) -> tuple[str, ...]:
        data = ("--data", str(self._options.data)) if self._options.data else ()
        return (*data, *(("--mapping", str(self._options.mapping)) if self._options.mapping else ()))

    def _until_replay_start(self, *command: str) -> list[str]:
        assert self.window is not None
        source = self._source() if command == ("stream", "history") else ()
        # no UTC offset: all commands read times as UTC
        return self._dualcast(*command, *source, "--until", f"{self.window.start.astimezone(UTC):%Y-%m-%dT%H:%M:%S}")

    def _dualcast(self, *command: str) -> list[str]:
        program = str(Path(sys.executable).with_name("dualcast"))
        return [program, *command, "--use-case", self._options.use_case]
