"""The final table of the demo: errors of both paths compared with the reference and the naive forecast."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, TypeAdapter
from rich.table import Table

# Indices of the horizons to show: the 1st, 4th, 8th, 16th and 24th interval.
_SHOWN_INTERVALS = (0, 3, 7, 15, 23)


class Score(BaseModel):
    """Metrics of one group of forecasts in per cent; None without values to compare with."""

    n: int
    mape: float | None
    coverage: float | None
    reference_mape: float | None
    naive_mape: float | None


_SCORES = TypeAdapter(dict[str, Score])


def read_scores(text: str | bytes) -> dict[str, Score]:
    """Parse the output of ``dualcast score --json``: metrics by group."""
    return _SCORES.validate_json(text)


def score_table(scores: Mapping[str, Mapping[str, Score]]) -> Table:
    """Return the metrics of each path, for the intraday path also by horizon."""
    table = Table(highlight=False)
    for heading in ("forecast", "values", "MAPE", "reference", "naive", "coverage"):
        table.add_column(heading, justify="left" if heading == "forecast" else "right", no_wrap=True)
    for path, groups in sorted(scores.items()):
        table.add_section()
        parts = sorted(group for group in groups if group != "all") if path == "intraday" else []
        chosen = [parts[i] for i in _SHOWN_INTERVALS if i < len(parts)]
        for group in ("all", *chosen):
            score = groups[group]
            label = path if group == "all" else f"  {group} ahead"
            errors = (_percent(score.mape, 2), _percent(score.reference_mape, 2), _percent(score.naive_mape, 2))
            table.add_row(label, f"{score.n:,}", *errors, _percent(score.coverage, 1))
    return table


def _percent(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f} %"
