"""Run the demo: prepare, replay, score, report times and memory, and stop all processes."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from types import FrameType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.demo.board import board
from infra.demo.feed import DemoFeed, Snapshot
from infra.demo.folder import prepare
from infra.demo.memory_meter import MemoryMeter
from infra.demo.plan import Options, Plan
from infra.demo.result import score_table
from infra.demo.steps import Progress, Runner, Step
from infra.local import stack
from infra.local.java import artifacts
from infra.local.state import Phase, StateDir, Status
from infra.local.supervision import processes

_TICK_SECONDS = 0.2
_POLL_SECONDS = 1.0
_PLAIN_REPORT_SECONDS = 10.0
_LAST_FORECASTS_SECONDS = 180.0
_QUIET_SECONDS = 5.0
_JAR_SETS = ("broker", "registry", "spark", "flink")


class DemoError(RuntimeError):
    """The demo cannot continue. The message gives the cause and a remedy."""


class Demo:
    """One run of the demo in a state folder."""

    def __init__(self, options: Options, state: StateDir, console: Console) -> None:
        self._options = options
        self._state = state
        self._console = console
        self._token_status = Status(token=uuid.uuid4().hex)
        self._environment = self._make_environment()
        self._plan = Plan(options, state, self._environment)
        self._runners: list[Runner] = []
        self._snapshot: Snapshot | None = None
        self._feed = DemoFeed(options.use_case)
        self._started = time.monotonic()
        self._first_forecasts: float | None = None
        self._meter = MemoryMeter(state)

    def run(self, *, keep_state: bool, keep_serving: bool, may_empty: Callable[[str], bool]) -> None:
        """Run all steps and stop all processes at the end, also after an error.

        Nothing is changed before the input was read and the state folder may be emptied; ``may_empty`` is asked where
        that is not obvious. Raises StepError, StackError, ArtifactError, FolderError or DemoError on failure, and
        KeyboardInterrupt if the user stops it.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # also if the shell set SIGINT to be ignored
            signal.signal(number, _interrupt)
        self._console.print("Reading the input.", style="dim")
        self._plan.find_window()
        prepare(self._state, keep=keep_state, may_empty=may_empty)
        try:
            artifacts.ensure(_JAR_SETS, self._console)
            with self._meter:
                self._prepare_and_replay()
                self._score()
                if keep_serving:
                    self._serve()
        finally:
            self._stop()

    def _prepare_and_replay(self) -> None:
        runner = self._runner(self._plan.preparation())
        with self._live(lambda: self._page(runner.table(), with_board=self._plan.clock is not None)):
            self._finish(runner)
            self._replay()

    def _replay(self) -> None:
        clock = self._plan.clock
        assert clock is not None
        assert clock.until is not None
        next_report = 0.0
        while clock.now() < clock.until:
            self._poll()
            if time.monotonic() >= next_report:
                next_report = time.monotonic() + _PLAIN_REPORT_SECONDS
                self._print_progress(f"replay at {clock.now():%Y-%m-%d %H:%M} UTC")
            time.sleep(_POLL_SECONDS)
        self._wait_for_last_forecasts()

    def _wait_for_last_forecasts(self) -> None:
        """Wait until the replay and the batch daemon have finished and no new curves or actuals arrive."""
        deadline = time.monotonic() + _LAST_FORECASTS_SECONDS
        quiet_since, before = time.monotonic(), self._snapshot
        while time.monotonic() < deadline:
            self._poll()
            if self._snapshot is None or before is None or _arrivals(self._snapshot) != _arrivals(before):
                quiet_since, before = time.monotonic(), self._snapshot
            components = self._state.live_status().components
            ended = all(components[name].phase == Phase.FINISHED for name in ("replay", "day-ahead"))
            if ended and time.monotonic() - quiet_since >= _QUIET_SECONDS:
                self._check_that_all_came()
                return
            time.sleep(_POLL_SECONDS)
        states = ", ".join(f"{c.name} is {c.phase}" for c in self._state.live_status().components.values())
        raise DemoError(
            f"Forecasts are still missing {_LAST_FORECASTS_SECONDS:.0f} s after the end of the replay: {states}.\n"
            f"The logs are in {self._state.logs}."
        )

    def _check_that_all_came(self) -> None:
        """Raise DemoError with the entities and paths of which no curve came."""
        missing = missing_curves(self._snapshot)
        if missing:
            raise DemoError(f"No curve came of: {', '.join(missing)}.\nThe logs are in {self._state.logs}.")

    def _score(self) -> None:
        self._plan.exports.mkdir(exist_ok=True)
        runner = self._runner(self._plan.scoring())
        with self._live(lambda: self._page(runner.table(), with_board=False)):
            self._finish(runner)
        self._console.print(score_table(self._plan.scores))
        self._console.print(self._summary())

    def _serve(self) -> None:
        self._console.print(f"The services keep running: {self._url()}/   Ctrl-C stops all processes.")
        threading.Event().wait()

    def _poll(self) -> None:
        self._snapshot = self._feed.read(self._url()) or self._snapshot
        if self._first_forecasts is None and self._snapshot is not None:
            entities = self._snapshot.status["entities"]
            if any(e["day_ahead"] for e in entities) and any(e["intraday"] for e in entities):
                self._first_forecasts = time.monotonic() - self._started
                self._print_progress("first forecasts of both paths")

    def _url(self) -> str:
        service = self._state.live_status().components.get("da-svc")
        return service.address if service else ""

    def _runner(self, steps: list[Step]) -> Runner:
        runner = Runner(steps, self._state, self._environment)
        runner.on_change = self._on_change
        self._runners.append(runner)
        return runner

    @staticmethod
    def _finish(runner: Runner) -> None:
        while not runner.is_done:
            runner.tick()
            time.sleep(_TICK_SECONDS)

    def _on_change(self, step: Step) -> None:
        took = f" after {step.seconds:.1f} s" if step.progress != Progress.RUNNING else ""
        self._print_progress(f"{step.title}: {step.progress}{took}")

    def _print_progress(self, text: str) -> None:
        """Print a progress line if the output is not a terminal."""
        if not self._console.is_terminal:
            self._console.print(f"{time.monotonic() - self._started:6.1f} s  {text}", highlight=False)

    def _live(self, page: Callable[[], RenderableType]) -> Live:
        shown = page if self._console.is_terminal else Group
        return Live(get_renderable=shown, console=self._console, refresh_per_second=4)

    def _page(self, steps: Table, *, with_board: bool) -> RenderableType:
        gigabytes = self._meter.newest_bytes / 1e9
        parts: list[RenderableType] = [steps]
        clock = self._plan.clock
        if with_board and clock and clock.start and clock.until:
            span = clock.start, clock.until
            parts.append(board(self._snapshot, self._state.live_status(), span, clock.now(), self._url()))
        parts.append(Text(f"{time.monotonic() - self._started:.0f} s, {gigabytes:.1f} GB in use", style="dim"))
        return Group(*parts)

    def _summary(self) -> Table:
        table = Table("step", "", title="", highlight=False)
        for step in (step for runner in self._runners for step in runner.steps):
            table.add_row(step.title, f"{step.seconds:.1f} s")
        table.add_section()
        if self._first_forecasts is not None:
            table.add_row("first forecasts of both paths after", f"{self._first_forecasts:.0f} s")
        table.add_row("total", f"{time.monotonic() - self._started:.0f} s")
        table.add_row("peak memory of all processes", f"{self._meter.peak_bytes / 1e9:.2f} GB")
        table.add_row("exported forecasts and actuals", str(self._plan.exports))
        return table

    def _stop(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._console.print("Stopping all processes.", style="dim")
        for runner in self._runners:
            runner.stop()
        stack.stop(self._state)
        while not all(runner.join(1.0) for runner in self._runners):
            stack.stop(self._state)  # a step may have started it again meanwhile
        processes.sweep(self._token_status)

    def _make_environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        own = {"DUALCAST_STATE_DIR": str(self._state.root), processes.SUPERVISOR_VARIABLE: self._token_status.token}
        return {**inherited, **own, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", "COLUMNS": "120"}


def missing_curves(snapshot: Snapshot | None) -> list[str]:
    """The paths and entities without any curve; both paths of all if the service has not answered."""
    if snapshot is None:
        return ["the day-ahead and the intraday path: da-svc does not answer"]
    return [
        f"{path} of {entity['entity_id']}"
        for entity in snapshot.status["entities"]
        for path, curves in (("day-ahead", entity["day_ahead"]), ("intraday", entity["intraday"]))
        if not curves
    ]


def _arrivals(snapshot: Snapshot) -> list[tuple[object, ...]]:
    """Return the fields that change when a curve or an actual arrives."""
    return [
        (
            entity["newest_actual_at"],
            len(entity["day_ahead"]),
            entity["intraday"] and entity["intraday"]["issued_at"],
            entity["errors"]["day_ahead"],
        )
        for entity in snapshot.status["entities"]
    ]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
