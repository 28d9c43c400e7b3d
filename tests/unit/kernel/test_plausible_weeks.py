"""Ratios to last week that occur in real weeks, such as after holidays, are plausible; a wrong digit is not."""

from __future__ import annotations

import numpy as np
import pytest

from dualcast.catalogue import UseCase
from dualcast.observations.validation import implausible


@pytest.mark.parametrize(
    ("ratio", "bad"),
    [
        (1.87, False),  # the morning of 8 January 2019 in Germany, beside New Year's
        (0.57, False),  # the morning of Christmas 2019
        (1.0, False),
        (8.3, True),  # the operators' forecast on 31 January 2022
        (0.1, True),
        (2.1, True),
        (0.45, True),
    ],
)
def test_plausibility_by_the_ratio_to_last_week(use_case: UseCase, ratio: float, bad: bool) -> None:
    for name in (use_case.target, use_case.reference or ""):
        bounds = use_case.variables[name].bounds
        assert implausible(bounds, np.array([ratio * 40000.0]), np.array([40000.0])).tolist() == [bad]
