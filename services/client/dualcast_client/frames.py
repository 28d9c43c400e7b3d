"""Answers as pandas frames: one row for each interval, with the fields of the curve as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dualcast_client.answers import Curve, History, Point

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


def curves(answers: Sequence[Curve]) -> pd.DataFrame:
    """Curves in long form.

    Columns: ``entity_id``, ``issued_at`` and ``valid_time`` (UTC), a column for each quantile (``q10``, ``q50``,
    ``q90``) in ``unit``, ``actual`` in issued curves, and the other fields of each curve.
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


def history(answer: History) -> pd.DataFrame:
    """Columns: ``valid_time`` (UTC), ``actual`` and ``reference`` in ``unit``, ``simulated``."""
    frame = pd.DataFrame(answer["points"], columns=["valid_time", "actual", "reference"])
    frame["valid_time"] = pd.to_datetime(frame["valid_time"], utc=True, format="ISO8601")
    return frame.astype({"actual": float, "reference": float}).assign(
        unit=answer["unit"], simulated=answer["simulated"]
    )


def _rows(answer: Curve) -> list[dict[str, Any]]:
    facts: dict[str, Any] = {name: value for name, value in answer.items() if name in (*_FIRST, *_LAST)}
    facts["model_name"], facts["model_version"] = answer["model"]["name"], answer["model"]["version"]
    facts["degraded_reasons"] = ";".join(answer["degraded_reasons"])
    return [facts | _values(point) for point in answer["points"]]


def _values(point: Point) -> dict[str, Any]:
    quantiles = {quantile_column(float(level)): value for level, value in point["quantiles"].items()}
    actual = {"actual": point["actual"]} if "actual" in point else {}
    return {"valid_time": point["valid_time"], **quantiles, **actual}


def quantile_column(level: float) -> str:
    """The column of a quantile: 0.1 -> q10, 0.5 -> q50, 0.025 -> q025."""
    return "q" + f"{level:.3f}"[2:].removesuffix("0")
