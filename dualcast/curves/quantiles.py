"""Names of quantile levels."""

from __future__ import annotations


def quantile_column(level: float) -> str:
    """The column of a quantile: 0.1 -> q10, 0.5 -> q50, 0.025 -> q025.

    >>> quantile_column(0.1), quantile_column(0.05), quantile_column(0.975)
    ('q10', 'q05', 'q975')
    """
    return "q" + f"{level:.3f}"[2:].removesuffix("0")
