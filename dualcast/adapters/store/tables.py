"""The tables of the store. A change here needs a migration in ``migrations/versions``; a test compares them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, DateTime, Dialect, Double, Index, Integer, String, Table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from dualcast.curves.forecast import FIELDS
from dualcast.timegrid import as_utc

_Json = JSON().with_variant(JSONB(), "postgresql")
_Id = BigInteger().with_variant(Integer(), "sqlite")


class Moment(TypeDecorator[datetime]):
    """A time in UTC, timezone-aware in Python, also for SQLite, which stores no zone. Refuses naive times."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """The value that is stored."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the store takes timezone-aware times only")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """The value that was read, as UTC."""
        if value is None:
            return None
        return as_utc(value)


# The type of a column by that of the curve's field; texts of a fixed set are strings.
_SQL_TYPES: Mapping[Any, Any] = {datetime: Moment, bool: Boolean, list[str]: _Json, list[float]: _Json}
CURVE_FIELDS = {field.name: field for field in FIELDS}
# The fields that are stored of a curve that was computed for a request.
COMPUTED_FIELDS = (
    "use_case",
    "entity_id",
    "issued_at",
    "newest_input_at",
    "model_name",
    "model_version",
    "degraded_reasons",
    "quantile_levels",
)


class Base(DeclarativeBase):
    """The base of all tables: SQL types by Python type."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: Moment(),
        dict[str, Any]: _Json,
        list[str]: _Json,
    }


def curve_column(name: str, *, key: bool = False) -> Column[Any]:
    """The column of a field of a curve."""
    field = CURVE_FIELDS[name]
    kind = _SQL_TYPES.get(field.type, String)
    return Column(name, kind(field.length) if kind is String else kind, primary_key=key, nullable=False)


class ForecastRow(Base):
    """A published curve. The key includes the path: both may issue with one version at the same moment.

    ``points`` are {"valid_time": [ISO times], "values": [[one value for each level, null where there is none]]}.
    """

    __table__ = Table(
        "forecasts",
        Base.metadata,
        *(curve_column(name, key=field.key) for name, field in CURVE_FIELDS.items()),
        Column("points", _Json, nullable=False),
        Column("recorded_at", Moment, nullable=False),
        Index("ix_forecasts_issued_at", "issued_at"),
    )


class PredictionRow(Base):
    """A curve that was computed for a request and not published, with the call that it was computed for."""

    __table__ = Table(
        "predictions",
        Base.metadata,
        Column("id", _Id, primary_key=True),
        Column("at", Moment, nullable=False),
        Column("trace_id", String(32), nullable=False),
        Column("identity", String(200), nullable=False),
        *(curve_column(name) for name in COMPUTED_FIELDS),
        Column("fallback", String(64)),
        Column("points", _Json, nullable=False),
        Index("ix_predictions_at", "at"),
    )


class AuditRow(Base):
    """A call of the API: caller, request and response. Contains no secret."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    at: Mapped[datetime]
    service: Mapped[str] = mapped_column(String(32))
    identity: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(16))
    path: Mapped[str] = mapped_column(String(256))
    use_case: Mapped[str | None] = mapped_column(String(64))
    entities: Mapped[list[str]]
    status: Mapped[int]
    model_versions: Mapped[list[str]]
    latency_ms: Mapped[float] = mapped_column(Double)
    trace_id: Mapped[str] = mapped_column(String(32))

    __table_args__ = (Index("ix_audit_at", "at"), Index("ix_audit_identity_at", "identity", "at"))


class ApiKeyRow(Base):
    """An API key: its digest, not its text."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    # SHA-256 in hexadecimal. No salt is needed: the key is 256 random bits.
    digest: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    access: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
