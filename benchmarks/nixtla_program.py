"""mlforecast on one frame of series, in an environment of its own: prints seconds and its version as JSON.

usage: nixtla_program.py SERIES.parquet HORIZON     SERIES has unique_id, ds, y
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from time import perf_counter

import pandas as pd
from lightgbm import LGBMRegressor
from mlforecast import MLForecast
from mlforecast.lag_transforms import RollingMean


def main() -> None:
    """Fit on all series, predict the next days of each."""
    series, horizon = pd.read_parquet(sys.argv[1]), int(sys.argv[2])
    # as many trees as the use case's forecaster has
    trees = LGBMRegressor(n_estimators=250, learning_rate=0.1, num_leaves=63, colsample_bytree=0.5, verbosity=-1)
    means = {1: [RollingMean(7), RollingMean(14), RollingMean(42), RollingMean(112)]}
    forecaster = MLForecast(
        models=[trees],
        freq="D",
        lags=[1, 7, 14, 21, 28, 364],
        lag_transforms=means,
        date_features=["dayofweek", "day", "month"],
    )
    begin = perf_counter()
    forecaster.fit(series)
    fitted = perf_counter()
    predicted = forecaster.predict(horizon)
    done = perf_counter()
    figures = {"fit": fitted - begin, "predict": done - fitted, "predictions": len(predicted)}
    sys.stdout.write(json.dumps(figures | {"version": version("mlforecast")}))


main()
