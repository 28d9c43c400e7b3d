"""``dualcast dead-letters list | show | replay``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
    from streaming.dead_letters.messages import StoredLetter

app = typer.Typer(
    name="dead-letters",
    no_args_is_help=True,
    help="Messages that could not be used: list and show them, and replay them once the cause is fixed.",
)

Reason = Annotated[str | None, typer.Option("--reason", help="Only dead letters with this reason.", show_default=False)]
Since = Annotated[
    datetime | None,
    moment_option("--since", "Only dead letters of this time or later."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print every match as a JSON document on its own line.")]
_SHORT = "%Y-%m-%d %H:%M:%S"
_SHOWN_BYTES = 256


@app.command("list")
def list_(
    reason: Reason = None,
    since: Since = None,
    as_json: AsJson = False,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest to list.")] = 30,
) -> None:
    """Show the number of dead letters by reason, and the newest ones."""
    from streaming.dead_letters import messages  # noqa: PLC0415 -- Kafka's client takes a second

    with _reached() as settings:
        found = sorted(messages.read(settings, reason=reason, since=since), key=lambda k: (k.letter.occurred_at, k.id))
        done = messages.replayed(settings, found)
    if as_json:
        for kept in found:
            typer.echo(json.dumps(_plain(kept) | {"replayed": kept.identity in done}))
        return
    _print_tables(found, done, last)


@app.command()
def show(letter_id: Annotated[str, typer.Argument(metavar="ID", help="As 'list' shows it.")]) -> None:
    """Print one dead letter as JSON, with its content decoded if possible."""
    from streaming.dead_letters import messages  # noqa: PLC0415

    with _reached() as settings:
        found = list(messages.read(settings, ids={letter_id}))
        if not found:
            fail(f"there is no dead letter {letter_id}", status=2)
        shown = _plain(found[0]) | {
            "replayed": found[0].identity in messages.replayed(settings, found),
            "content": messages.content(settings, found[0]),
        }
    typer.echo(json.dumps(shown, indent=2, default=str))


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="As 'list' shows them.")] = None,
    reason: Reason = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
) -> None:
    """Send dead letters to their topics again, each once. Those that are still bad become new dead letters.

    Exits with 1 if some cannot be replayed: they were too large to be kept, or did not come from Kafka.
    """
    from streaming.dead_letters import messages  # noqa: PLC0415

    if not (ids or reason or since or everything):
        fail("choose dead letters: ids, --reason, --since, or --all", status=2)
    console = Console(stderr=True)
    with _reached() as settings:
        found = list(messages.read(settings, reason=reason, since=since, ids=set(ids or ())))
        missing = sorted(set(ids or ()) - {kept.id for kept in found})
        if missing:
            fail(f"there is no such dead letter: {', '.join(missing)}", status=2)
        outcome = messages.replay(settings, found)
    console.print(
        f"{len(outcome.sent):,} replayed, {len(outcome.already_replayed):,} had been replayed before,"
        f" {len(outcome.not_replayable):,} cannot be replayed (too large to be kept, or not from Kafka)",
        highlight=False,
    )
    if outcome.not_replayable:
        raise typer.Exit(1)


def _print_tables(found: Sequence[StoredLetter], done: Collection[str], last: int) -> None:
    console = Console()
    counts = Counter((kept.letter.reason, kept.letter.component) for kept in found)
    summary = Table("reason", "refused by", "count", title=f"{len(found):,} dead letters")
    for (why, component), count in counts.most_common():
        summary.add_row(escape(why), escape(component), f"{count:,}")
    newest = Table("id", "when (UTC)", "reason", "message", "key", "detail", "replayed")
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


@contextmanager
def _reached() -> Iterator[Settings]:
    """The settings. If the broker or registry is unavailable, the command prints the error and exits with 1."""
    from dualcast.adapters.kafka.connection import UnreachableError, reaching  # noqa: PLC0415

    settings = load_settings()
    telemetry.configure(settings, "dead-letters")
    with exit_on(UnreachableError), reaching("broker"):
        yield settings


def _plain(kept: StoredLetter) -> dict[str, Any]:
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
