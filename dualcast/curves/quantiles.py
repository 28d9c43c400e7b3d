"""Names of quantile levels, and the levels of several curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def quantile_column(level: float) -> str:
    """The column of a quantile: 0.1 -> q10, 0.5 -> q50, 0.025 -> q025.

    >>> quantile_column(0.1), quantile_column(0.05), quantile_column(0.975)
    ('q10', 'q05', 'q975')
    """
    return "q" + f"{level:.3f}"[2:].removesuffix("0")


def quantile_level(column: str) -> float:
    """The level of a column that ``quantile_column`` named.

    >>> quantile_level("q10"), quantile_level("q025")
    (0.1, 0.025)
    """
    return float(f"0.{column[1:]}")


def quantile_columns(columns: Iterable[str]) -> list[str]:
    """The quantile columns among the columns of a table, lowest level first.

    >>> quantile_columns(["q90", "quality", "q025"])
    ['q025', 'q90']
    """
    return sorted((c for c in columns if c.startswith("q") and c[1:].isdigit()), key=quantile_level)


def quantile_member(level: float) -> str:
    """The member of the API's JSON object that holds a quantile.

    >>> quantile_member(0.1), quantile_member(0.975)
    ('0.1', '0.975')
    """
    return f"{level:g}"


def union_of_levels(levels: Iterable[Sequence[float]]) -> list[float]:
    """The levels of curves that may have different ones, rising.

    >>> union_of_levels([[0.1, 0.5, 0.9], [0.05, 0.5, 0.95]])
    [0.05, 0.1, 0.5, 0.9, 0.95]
    """
    return sorted({level for of_curve in levels for level in of_curve})
