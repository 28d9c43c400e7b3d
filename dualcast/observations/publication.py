"""The publication rules of the catalogue, vectorised: when values become known."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from dualcast.catalogue import Publication
from dualcast.timegrid import CLOCK_CHANGE, DAY, MICRO, interval_ends, local_moment

# Margin of ``valid_range`` for rules that name a time on a local day.
_DAY_RULE_SLACK = DAY + CLOCK_CHANGE


def published_at(rule: Publication, valid_time: pd.DatetimeIndex, resolution: timedelta, zone: str) -> pd.DatetimeIndex:
    """When the values of intervals that start at ``valid_time`` (n,) become known, UTC (n,).

    Equal to ``Publication.published_at`` for each. Raises ValueError where times are naive.
    """
    if valid_time.tz is None:
        raise ValueError("valid times need a time zone")
    if rule.delay is not None:
        starts = np.asarray(valid_time.as_unit("us").asi8, dtype=np.int64)
        ends = interval_ends(starts, np.full(len(starts), resolution // MICRO), zone)
        return pd.DatetimeIndex((ends + rule.delay // MICRO).view("M8[us]")).tz_localize("UTC")
    assert rule.days_before is not None
    assert rule.at is not None
    local_days = valid_time.tz_convert(zone).tz_localize(None).floor("D")
    day_of, days = pd.factorize(local_days)
    back = timedelta(days=rule.days_before)
    moments = [local_moment(day.date() - back, rule.at, zone) for day in days]
    return pd.DatetimeIndex(moments, tz="UTC").as_unit("us")[day_of]


def valid_range(rule: Publication, start: datetime, end: datetime, resolution: timedelta) -> tuple[datetime, datetime]:
    """A range that contains all valid times whose values become known in [start, end)."""
    if rule.delay is not None:
        known = resolution + rule.delay
        slack = timedelta(0) if resolution % DAY else CLOCK_CHANGE
        return start - known - slack, end - known + slack
    assert rule.days_before is not None
    ahead = timedelta(days=rule.days_before)
    return start + ahead - _DAY_RULE_SLACK, end + ahead + _DAY_RULE_SLACK
