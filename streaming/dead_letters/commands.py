"""``dualcast dead-letters list | show | replay``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dualcast import telemetry
from dualcast.console import exit_on, fail, moment_option
from dualcast.settings import Settings, load_settings

if TYPE_CHECKING:
    from streaming.dead_letters.messages import Kept

app = typer.Typer(
    name="dead-letters", no_args_is_help=True, help="What could not be used: read it, and send it again when mended."
)

Reason = Annotated[str | None, typer.Option("--reason", help="Only those with this reason.", show_default=False)]
Since = Annotated[
    datetime | None,
    moment_option("--since", "Only those of this time or later."),
]
AsJson = Annotated[bool, typer.Option("--json", help="A JSON document on each line, of all that match.")]
_SHORT = "%Y-%m-%d %H:%M:%S"
_SHOWN_BYTES = 256


@app.command("list")
def list_(
    reason: Reason = None,
    since: Since = None,
    as_json: AsJson = False,
    last: Annotated[int, typer.Option(min=1, help="So many of the newest in the table.")] = 30,
) -> None:
    """Show dead letters: how many of each reason, and the newest."""
    from streaming.dead_letters import messages as letters  # noqa: PLC0415 -- Kafka's client takes a second

    with _reached() as settings:
        found = sorted(letters.read(settings, reason=reason, since=since), key=lambda k: (k.letter.occurred_at, k.id))
        done = letters.replayed(settings, found)
    if as_json:
        for kept in found:
            typer.echo(json.dumps(_plain(kept) | {"replayed": kept.identity in done}))
        return
    console = Console()
    counts = Counter((kept.letter.reason, kept.letter.component) for kept in found)
    summary = Table("reason", "refused by", "letters", title=f"{len(found):,} dead letters")
    for (why, component), count in counts.most_common():
        summary.add_row(escape(why), escape(component), f"{count:,}")
    newest = Table("id", "when (UTC)", "reason", "message", "key", "detail", "sent again")
    for kept in found[-last:]:
        letter = kept.letter
        newest.add_row(
            kept.id,
            letter.occurred_at.strftime(_SHORT),
            escape(letter.reason),
            f"{letter.topic} {letter.partition}-{letter.offset}",
            escape(_text(letter.key)),
            escape(letter.detail[:80]),
            "yes" if kept.identity in done else "",
        )
    console.print(summary)
    if found:
        console.print(newest)


@app.command()
def show(letter_id: Annotated[str, typer.Argument(metavar="ID", help="As 'list' shows it.")]) -> None:
    """Print all of one dead letter as JSON, its content decoded where that can be done."""
    from streaming.dead_letters import messages as letters  # noqa: PLC0415

    with _reached() as settings:
        found = list(letters.read(settings, ids={letter_id}))
        if not found:
            fail(f"there is no dead letter {letter_id}", status=2)
        shown = _plain(found[0]) | {
            "replayed": found[0].identity in letters.replayed(settings, found),
            "content": letters.content(settings, found[0]),
        }
    typer.echo(json.dumps(shown, indent=2, default=str))


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As 'list' shows them.")] = None,
    reason: Reason = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="All that match, all there are.")] = False,
) -> None:
    """Send dead letters back onto their topics as they came, each once; those still bad come back as new ones.

    Ends with status 1 where some could not be sent: they were too large to be kept, or came from elsewhere.
    """
    from streaming.dead_letters import messages as letters  # noqa: PLC0415

    if not (ids or reason or since or everything):
        fail("say which: ids, --reason, --since, or --all", status=2)
    console = Console(stderr=True)
    with _reached() as settings:
        found = list(letters.read(settings, reason=reason, since=since, ids=set(ids or ())))
        missing = sorted(set(ids or ()) - {kept.id for kept in found})
        if missing:
            fail(f"there is no such dead letter: {', '.join(missing)}", status=2)
        outcome = letters.replay(settings, found)
    console.print(
        f"{len(outcome.sent):,} sent again, {len(outcome.before):,} were before,"
        f" {len(outcome.stuck):,} cannot be: too large to be kept, or not from Kafka",
        highlight=False,
    )
    if outcome.stuck:
        raise typer.Exit(1)


@contextmanager
def _reached() -> Iterator[Settings]:
    """The settings; a broker or registry that is away ends the command with its text and status 1."""
    from dualcast.adapters.kafka.connection import UnreachableError, reaching  # noqa: PLC0415

    settings = load_settings()
    telemetry.configure(settings, "dead-letters")
    with exit_on(UnreachableError), reaching("broker"):
        yield settings


def _plain(kept: Kept) -> dict[str, Any]:
    letter = kept.letter
    return {
        "id": kept.id,
        "occurred_at": letter.occurred_at.isoformat(),
        "reason": letter.reason,
        "detail": letter.detail,
        "component": letter.component,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": _text(letter.key),
        "value_bytes": None if letter.value is None else len(letter.value),
        "value_begins": None if letter.value is None else letter.value[:_SHOWN_BYTES].hex(),
    }


def _text(key: bytes | None) -> str:
    return "" if key is None else key.decode(errors="backslashreplace")
