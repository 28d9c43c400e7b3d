"""What a run shows and records of its steps: a line each with counts and seconds, and a span."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import perf_counter

from opentelemetry import trace
from rich.console import Console

from dualcast.adapters.lake_lock import lake_lock
from dualcast.settings import Settings

_tracer = trace.get_tracer(__name__)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """A step that is done."""

    name: str
    seconds: float
    said: str


class Steps:
    """Shows each step of a run as it goes, and remembers it in ``done``."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.done: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[Say]:
        """Time a step; what it says last is shown beside its seconds."""
        said = [""]
        begin = perf_counter()
        with _tracer.start_as_current_span(name), self._console.status(f"{name} ..."):
            yield lambda text: said.__setitem__(0, text)
        seconds = perf_counter() - begin
        self.done.append(Step(name, round(seconds, 2), said[0]))
        self._console.print(f"[green]{seconds:6.1f} s[/green]  {name:<18} {said[0]}", highlight=False, soft_wrap=True)

    def show_seconds(self) -> None:
        """Show how long each kind of step took in all, the longest first."""
        total: dict[str, float] = defaultdict(float)
        for step in self.done:
            total[step.name] += step.seconds
        longest_first = sorted(total.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in longest_first)
        self.note(f"[bold]{sum(total.values()):6.1f} s[/bold]  in all: {parts}")

    def note(self, text: str) -> None:
        """Show a line between steps."""
        self._console.print(text, highlight=False)


def writing(settings: Settings, steps: Steps) -> AbstractContextManager[None]:
    """Hold the lock of the lake. A run that finds it taken shows that it waits."""
    return lake_lock(settings, lambda: steps.note("another run is writing to the lake; waiting for it to end"))
