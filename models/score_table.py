"""Scores as a table of the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from models.scoring import Score

_COLUMNS = ("n", "MAPE", "MAE", "RMSE", "bias", "pinball", "q10-q90 %", "reference MAPE", "naive MAPE", "skill")


def score_table(found: Mapping[str, Score], by: str, unit: str) -> Table:
    """A row for each group; ``by`` heads the column with their names."""
    table = Table(title=f"Errors in {unit} and %")
    for column in (by, *_COLUMNS):
        table.add_column(column, justify="right")
    for key, score in found.items():
        table.add_row(key, *score.cells())
    return table
