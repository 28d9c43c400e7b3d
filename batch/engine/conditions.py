"""A condition on entities and times that lets Spark skip files."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from functools import reduce
from operator import or_

from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812 -- Spark's own convention


def matches_any(keys: Collection[tuple[str, date]], column: str) -> Column:
    """Whether a row's entity_id and its value in ``column`` are one of ``keys``."""
    entities: dict[date, list[str]] = {}
    for entity_id, moment in keys:
        entities.setdefault(moment, []).append(entity_id)
    matches = ((F.col(column) == moment) & F.col("entity_id").isin(ids) for moment, ids in entities.items())
    return reduce(or_, matches, F.lit(False))
