"""The live view of the replay: the clock, the newest curves, the errors so far and unhealthy components."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dualcast_client.answers import CurveState, EntityStatus, Errors
from infra.demo.feed import Snapshot
from infra.local.state import Phase, Status

_BLOCKS = "▁▂▃▄▅▆▇█"
_SHOWN_ENTITIES = 5


def board(
    snapshot: Snapshot | None, components: Status, span: tuple[datetime, datetime], now: datetime, url: str
) -> RenderableType:
    """Render the current state of the replay. ``span`` is the first and last time of the replay."""
    parts: list[RenderableType] = [_clock(span, now)]
    if snapshot is None:
        parts.append(Text("The services are starting.", style="dim"))
    else:
        parts.extend(_entity(entity, snapshot) for entity in snapshot.status["entities"][:_SHOWN_ENTITIES])
    parts.extend(_unhealthy_components(components))
    parts.append(Text.assemble("The page: ", (f"{url}/", f"bold link {url}/"), "   Stop with Ctrl-C."))
    return Panel(Group(*parts), title="replay", title_align="left")


def sparkline(values: Sequence[float]) -> str:
    """Format values as block characters, scaled from their minimum to their maximum.

    >>> sparkline([1, 2, 3, 2])
    '▁▅█▅'
    """
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[int((value - low) * scale + 0.5)] for value in values)


def _clock(span: tuple[datetime, datetime], now: datetime) -> RenderableType:
    start, until = span
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    shown = min(max(now, start), until)
    total, done = (until - start).total_seconds(), (shown - start).total_seconds()
    row.add_row(Text(f"{shown:%a %Y-%m-%d %H:%M} UTC", style="bold"), ProgressBar(total=total, completed=done))
    return row


def _entity(entity: EntityStatus, snapshot: Snapshot) -> RenderableType:
    label = f"{entity['title']}, simulated" if entity["simulated"] else entity["title"]
    unit, entity_id = snapshot.status["use_case"]["unit"], entity["entity_id"]
    day_ahead = entity["day_ahead"][-1] if entity["day_ahead"] else None
    intraday = entity["intraday"]
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    name = f"day-ahead {day_ahead['delivery_date']}" if day_ahead else "day-ahead"
    table.add_row(name, _curve(day_ahead, snapshot.medians(entity_id, "day-ahead"), unit))
    table.add_row("", _errors([entity["errors"]["day_ahead"]]))
    name = f"intraday of {datetime.fromisoformat(intraday['issued_at']):%H:%M}" if intraday else "intraday"
    table.add_row(name, _curve(intraday, snapshot.medians(entity_id, "intraday"), unit))
    table.add_row("", _errors(entity["errors"]["intraday"]))
    return Group(Text(label, style="bold"), table)


def _curve(curve: CurveState | None, medians: Sequence[float], unit: str) -> Text:
    if curve is None:
        return Text("none yet", style="dim")
    text = Text(sparkline(medians))
    if medians:
        text.append(f"  {min(medians):,.0f} to {max(medians):,.0f} {unit}")
    text.append(f"  {curve['model']['name']} {curve['model']['version']}", style="dim")
    return text.append("  degraded", style="yellow") if curve["degraded"] else text


def _errors(errors: Sequence[Errors | None]) -> Text:
    text = Text("error so far  ", style="dim") if any(errors) else Text()
    for error in errors:
        if error is not None:
            label = error.get("horizon", "").removeprefix("PT").lower()
            reference = "" if error["reference_mape"] is None else f" (reference {error['reference_mape']:.2f})"
            text.append(f"{label} " if label else "").append(f"{error['mape']:.2f} %", style="bold")
            text.append(f"{reference}  ", style="dim")
    return text


def _unhealthy_components(components: Status) -> list[Text]:
    good = {Phase.HEALTHY, Phase.EXTERNAL, Phase.FINISHED}
    unhealthy = [c for c in components.components.values() if c.phase not in good]
    return [Text(f"{c.name} is {c.phase}{f': {c.detail}' if c.detail else ''}", style="yellow") for c in unhealthy]
