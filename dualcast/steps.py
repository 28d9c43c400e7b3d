"""The steps of a job: each is a span, and is shown with its result and its seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from opentelemetry import trace
from rich.console import Console

_tracer = trace.get_tracer(__name__)
Report = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A step that is done, and its result in words."""

    name: str
    seconds: float
    result: str


class Steps:
    """Runs the steps of a job, shows them on a console, and keeps them in ``done``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.done: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Report]:
        """Time a step. The last text that it reports is its result."""
        result = [""]
        begin = perf_counter()
        with _tracer.start_as_current_span(name), self._console.status(f"{name} ..."):
            yield lambda text: result.__setitem__(0, text)
        seconds = perf_counter() - begin
        self.done.append(Step(name, round(seconds, 2), result[0]))
        self._console.print(f"[green]{seconds:6.1f} s[/green]  {name:<18} {result[0]}", highlight=False, soft_wrap=True)

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of all steps with the same name, by name."""
        total: dict[str, float] = defaultdict(float)
        for step in self.done:
            total[step.name] += step.seconds
        return dict(total)

    def show_seconds(self) -> None:
        """Show the seconds in total and by name, the longest first."""
        longest_first = sorted(self.seconds.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in longest_first)
        self.note(f"[bold]{sum(self.seconds.values()):6.1f} s[/bold]  in all: {parts}")

    def note(self, text: str) -> None:
        """Show a line between steps."""
        self._console.print(text, highlight=False)
