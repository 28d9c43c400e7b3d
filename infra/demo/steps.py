"""Run steps with dependencies, in parallel where possible. A step is a command or a function call."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import TopologicalSorter
from subprocess import Popen

from rich.table import Table
from rich.text import Text

from infra.local.stack import log_tail
from infra.local.state import StateDir
from infra.local.supervision import processes

_GLYPHS = {"waiting": "[dim]·[/]", "running": "[yellow]▸[/]", "done": "[green]✓[/]", "failed": "[red]✗[/]"}


class StepError(RuntimeError):
    """A step failed. The message names the step and shows the end of its log."""


class Progress(StrEnum):
    """The progress of a step."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Step:
    """One step: either a command line or a function call. ``after`` names the steps that it depends on."""

    name: str
    title: str
    command: Callable[[], Sequence[str]] | None = None
    call: Callable[[], object] | None = None
    after: tuple[str, ...] = ()
    progress: Progress = field(default=Progress.WAITING, init=False)
    started: float = field(default=0.0, init=False)
    seconds: float = field(default=0.0, init=False)


class Runner:
    """Runs each step as soon as its dependencies are done, and shows the progress.

    Raises graphlib.CycleError for circular dependencies and KeyError for an unknown dependency.
    """

    def __init__(self, steps: Sequence[Step], state: StateDir, environment: Mapping[str, str]) -> None:
        self.steps = list(steps)
        self._by_name = {step.name: step for step in self.steps}
        self._order = TopologicalSorter({step.name: step.after for step in self.steps})
        self._order.prepare()
        self._state = state
        self._environment = environment
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="step")
        self._running: dict[str, Popen[bytes] | Future[object]] = {}
        self.on_change: Callable[[Step], None] = lambda _: None

    @property
    def is_done(self) -> bool:
        """Whether every step is done."""
        return all(step.progress == Progress.DONE for step in self.steps)

    def tick(self) -> None:
        """Start steps that are ready and record steps that have ended. Raises StepError if a step failed."""
        for name in self._order.get_ready():
            self._start(self._by_name[name])
        for step in self.steps:
            if step.progress == Progress.RUNNING:
                step.seconds = time.monotonic() - step.started
                self._update(step)

    def stop(self) -> None:
        """Stop all running steps."""
        commands = [running for running in self._running.values() if isinstance(running, Popen)]
        for command in commands:
            if command.poll() is None:
                os.killpg(command.pid, signal.SIGTERM)
        deadline = time.monotonic() + 5.0
        for command in commands:
            while command.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            processes.kill_session(command.pid)
            command.wait(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self, seconds: float) -> bool:
        """Wait up to some seconds for all function calls; return whether all have returned."""
        calls = [running for running in self._running.values() if isinstance(running, Future)]
        return not wait(calls, timeout=seconds).not_done

    def table(self) -> Table:
        """Return the steps with their durations and the last line of their logs."""
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
        for step in self.steps:
            seconds = "" if step.progress == Progress.WAITING else f"{step.seconds:.1f} s"
            doing = log_tail(self._state, f"demo-{step.name}", 1) if self._shows_log(step) else ""
            table.add_row(_GLYPHS[step.progress], step.title, seconds, Text(doing.strip()))
        return table

    def _shows_log(self, step: Step) -> bool:
        return step.progress == Progress.RUNNING and self._state.log(f"demo-{step.name}").exists()

    def _start(self, step: Step) -> None:
        step.progress, step.started = Progress.RUNNING, time.monotonic()
        if step.command is not None:
            log = self._state.log(f"demo-{step.name}")
            self._running[step.name] = processes.start(step.command(), self._environment, log)
        elif step.call is not None:
            self._running[step.name] = self._pool.submit(step.call)
        self.on_change(step)

    def _update(self, step: Step) -> None:
        running = self._running[step.name]
        if isinstance(running, Popen):
            code = running.poll()
            if code is None:
                return
            processes.kill_session(running.pid)
            failure = "" if code == 0 else f"exited with code {code}"
        else:
            if not running.done():
                return
            error = running.exception()
            failure = str(error) if error else ""
        step.progress = Progress.FAILED if failure else Progress.DONE
        if not failure:
            self._order.done(step.name)
        self.on_change(step)
        if failure:
            raise StepError(self._failure_message(step, failure))

    def _failure_message(self, step: Step, failure: str) -> str:
        if step.command is None:
            return f"{step.title}: {failure}"
        log = self._state.log(f"demo-{step.name}")
        command = " ".join(step.command())
        return (
            f"{step.title}: {failure}\n{command}\nThe end of {log}:\n{log_tail(self._state, f'demo-{step.name}', 25)}"
        )
