"""Scores as a table of the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.table import Table

from models.evaluation.scoring import Score

_COLUMNS = ("n", "MAPE", "MAE", "RMSE", "bias", "pinball", "q10-q90\n%", "ref.\nMAPE", "naive\nMAPE", "skill")


def score_table(found: Mapping[str, Score], by: str, unit: str) -> Table:
    """A row for each group; ``by`` heads the column with their names."""
    # 80 columns, which is what there is where output goes to a file, must be enough for every figure
    table = Table(title=f"Errors in {unit} and %", box=box.SIMPLE, padding=(0, 0))
    for column in (by, *_COLUMNS):
        table.add_column(column, justify="right", no_wrap=True)
    for key, score in found.items():
        table.add_row(key, *score.cells())
    return table
