"""Writes the audit trail and the curves that were computed for requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, insert

from dualcast.adapters.store.engine import transaction
from dualcast.adapters.store.tables import AuditRow, Base, PredictionRow

Entry = tuple[type[Base], dict[str, Any]]


def append(engine: Engine, entries: Sequence[Entry]) -> None:
    """Write entries of ``AuditRow`` and ``PredictionRow`` in one transaction.

    Raises StoreUnavailableError, and sqlalchemy.exc.DBAPIError where the store refuses a value.
    """
    with transaction(engine) as connection:
        for table in (AuditRow, PredictionRow):
            rows = [values for kind, values in entries if kind is table]
            if rows:
                connection.execute(insert(table), rows)
