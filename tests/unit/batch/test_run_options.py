"""The delivery days of the options, and the curves that can be made now."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from typer.testing import CliRunner

from batch.commands import app
from batch.runs.cutoffs import TooEarlyError, before_cutoff
from batch.runs.outcome import SOME_MISSING, Missing, Outcome
from dualcast.catalogue import Entity, UseCase
from dualcast.steps import Step

DAY = date(2022, 6, 3)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--from", "2022-01-01"],
        ["--to", "2022-01-01"],
        ["--from", "2022-01-02", "--to", "2022-01-01"],
        ["--delivery-date", "2022-01-01", "--from", "2022-01-01", "--to", "2022-01-02"],
        ["--delivery-date", "2022-01-01", "--follow"],
    ],
)
def test_invalid_options_are_refused(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["day-ahead", *options]).exit_code == 2


def test_a_day_before_every_cutoff_is_refused_with_the_time(use_case: UseCase) -> None:
    with pytest.raises(TooEarlyError, match=r"2022-06-03 comes at 2022-06-02 09:00 UTC"):
        before_cutoff(use_case, [DAY], datetime(2022, 6, 2, 8, 59, 59, tzinfo=UTC))
    assert before_cutoff(use_case, [DAY], datetime(2022, 6, 2, 9, tzinfo=UTC)) == {}


def test_each_entity_has_its_own_cutoff(use_case: UseCase, entity: Entity) -> None:
    west = entity.model_copy(update={"id": "west", "time_zone": "Europe/Lisbon"})
    case = use_case.model_copy(update={"entities": (entity, west)})
    early = before_cutoff(case, [DAY], datetime(2022, 6, 2, 9, 30, tzinfo=UTC))
    assert early == {("west", DAY): "its cutoff comes at 2022-06-02 10:00 UTC"}


def test_the_summary_lists_missing_curves_and_the_seconds_of_steps() -> None:
    outcome = Outcome("de_load", [DAY], "7", 3, 1, [Missing("DE", DAY, "silver: out_of_bounds")], "page.html")
    assert outcome.exit_status == SOME_MISSING
    summary = outcome.as_json([Step("spark", 5.0, "4.2.0"), Step("gold", 2.5, "24 rows")])
    assert summary["missing"] == [{"entity_id": "DE", "delivery_day": "2022-06-03", "reason": "silver: out_of_bounds"}]
    assert (summary["published"], summary["already_published"], summary["seconds"]) == (3, 1, 7.5)
    assert summary["steps"][1] == {"name": "gold", "seconds": 2.5, "said": "24 rows"}
