"""Skew between served and recomputed rows, by feature."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from batch.runs.skew import FeatureSkew, compare


def test_differences_are_counted_by_row_and_by_feature() -> None:
    plain = pd.DataFrame({"a": [1.0, 2.0, np.nan, 0.0], "b": [np.array([1.0, np.nan])] * 4})
    served = plain.assign(a=[1.0, 2.2, np.nan, 0.0], b=[*plain["b"][:3], np.array([1.0, 2.0])])
    skew = compare(served, plain, ["a", "b"])
    assert (skew.rows, skew.unequal_rows) == (4, 2)
    assert skew.features[0].largest == pytest.approx(0.1)
    assert [f.unequal for f in skew.features] == [0.25, 0.25]
    assert skew.features[1] == FeatureSkew("b", 0.25, np.inf)


def test_rounding_differences_are_ignored() -> None:
    plain = pd.DataFrame({"a": [1.0, 3.0]})
    assert compare(plain * (1 + 1e-15), plain, ["a"]).unequal_rows == 0
