"""Answers as pandas frames: a row an interval, and in columns what each curve says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dualcast.curves.quantiles import quantile_column

_FIRST = ["entity_id", "issued_at", "valid_time"]
_TIMES = ["issued_at", "valid_time", "newest_input_at"]
_LAST = [
    "delivery_date",
    "unit",
    "model_name",
    "model_version",
    "data_version",
    "newest_input_at",
    "input_age_seconds",
    "stale",
    "fallback",
    "degraded",
    "degraded_reasons",
    "simulated",
]


def curves(answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Curves one below the other.

    Columns: ``entity_id``, ``issued_at`` and ``valid_time`` (UTC), a column for each quantile (``q10``, ``q50``,
    ``q90``) in ``unit``, ``actual`` where it was asked for, and what each curve says of itself.
    """
    frame = pd.DataFrame([row for answer in answers for row in _rows(answer)])
    if frame.empty:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in _FIRST})
    for name in frame.columns.intersection(_TIMES):
        frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601")
    if "delivery_date" in frame:
        frame["delivery_date"] = pd.to_datetime(frame["delivery_date"]).dt.date
    levels = sorted(name for name in frame if name.startswith("q"))
    return frame[[name for name in [*_FIRST, *levels, "actual", *_LAST] if name in frame]]


def history(answer: Mapping[str, Any]) -> pd.DataFrame:
    """What came true: ``valid_time`` (UTC), ``actual``, ``reference``, in ``unit``."""
    frame = pd.DataFrame(answer["points"], columns=["valid_time", "actual", "reference"])
    frame["valid_time"] = pd.to_datetime(frame["valid_time"], utc=True, format="ISO8601")
    return frame.astype({"actual": float, "reference": float}).assign(
        unit=answer["unit"], simulated=answer["simulated"]
    )


def _rows(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    facts = {name: answer[name] for name in [*_FIRST, *_LAST] if name in answer}
    facts["model_name"], facts["model_version"] = answer["model"]["name"], answer["model"]["version"]
    facts["degraded_reasons"] = ";".join(answer["degraded_reasons"])
    return [facts | _values(point) for point in answer["points"]]


def _values(point: Mapping[str, Any]) -> dict[str, Any]:
    quantiles = {quantile_column(float(level)): value for level, value in point["quantiles"].items()}
    actual = {"actual": point["actual"]} if "actual" in point else {}
    return {"valid_time": point["valid_time"], **quantiles, **actual}
