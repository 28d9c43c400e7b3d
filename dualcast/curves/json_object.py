"""Curves as JSON objects: the members of the API's answers, with their types and meanings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualcast.curves.fields import CurveField
from dualcast.curves.forecast import FIELDS, Forecast, field_values
from dualcast.curves.quantiles import quantile_member


def curve_members(forecast: Forecast) -> dict[str, Any]:
    """All members of a curve's JSON object but its points."""
    members: dict[str, Any] = {}
    for field, value in zip(FIELDS, field_values(forecast), strict=True):
        if len(field.member) == 1:
            members[field.member[0]] = value
        elif field.member:
            outer, inner = field.member
            members.setdefault(outer, {})[inner] = value
    return members


def point_members(forecast: Forecast) -> list[dict[str, Any]]:
    """The points: valid_time, and ``quantiles`` by level."""
    levels = [quantile_member(level) for level in forecast.quantile_levels]
    return [
        {"valid_time": p.valid_time, "quantiles": dict(zip(levels, p.values, strict=True))} for p in forecast.points
    ]


def member_fields() -> Mapping[str, list[CurveField]]:
    """The fields behind each member of the object, in order: several where the member is an object itself."""
    found: dict[str, list[CurveField]] = {}
    for field in FIELDS:
        if field.member:
            found.setdefault(field.member[0], []).append(field)
    return found
