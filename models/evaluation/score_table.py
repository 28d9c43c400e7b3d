"""Scores as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.table import Table

from dualcast.curves.quantiles import quantile_column
from models.evaluation.scoring import Score


def score_table(found: Mapping[str, Score], by: str, unit: str, interval: tuple[float, float]) -> Table:
    """A row for each group; ``by`` heads the column with their names, ``interval`` are the levels of the coverage."""
    inside = "-".join(map(quantile_column, interval)) + "\n%"
    columns = ("n", "MAPE", "MAE", "RMSE", "bias", "pinball", inside, "ref.\nMAPE", "naive\nMAPE", "skill")
    # 80 columns, which is what there is where output goes to a file, must be enough for every figure
    table = Table(title=f"Errors in {unit} and %", box=box.SIMPLE, padding=(0, 0))
    for column in (by, *columns):
        table.add_column(column, justify="right", no_wrap=True)
    for key, score in found.items():
        table.add_row(key, *score.cells())
    return table
