"""Curves as pandas frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dualcast.curves.forecast import Forecast
from dualcast.curves.quantiles import quantile_column


def forecast_frame(forecasts: Sequence[Forecast]) -> pd.DataFrame:
    """Curves in long form: entity_id, issued_at, valid_time, q10, q50, ... and what traces them; one row a point.

    Raises ValueError where there is no curve, or where their quantile levels differ.
    """
    sets = {tuple(f.quantile_levels) for f in forecasts}
    if len(sets) != 1:
        raise ValueError(f"{len(forecasts)} forecasts of {len(sets)} sets of quantile levels make no table")
    levels = sets.pop()
    points = [p for f in forecasts for p in f.points]
    values = np.array([p.values for p in points])

    def repeated(name: str) -> list[Any]:
        return [value for f in forecasts for value in [getattr(f, name)] * len(f.points)]

    return pd.DataFrame(
        {
            **{name: repeated(name) for name in ("use_case", "path", "entity_id")},
            "issued_at": pd.to_datetime(repeated("issued_at"), utc=True).as_unit("us"),
            "valid_time": pd.to_datetime([p.valid_time for p in points], utc=True).as_unit("us"),
            **{quantile_column(q): values[:, i] for i, q in enumerate(levels)},
            **{name: repeated(name) for name in ("model_name", "model_version", "code_version", "data_version")},
            "degraded": repeated("degraded"),
            "degraded_reasons": [";".join(reasons) for reasons in repeated("degraded_reasons")],
            "simulated": repeated("simulated"),
        }
    )
