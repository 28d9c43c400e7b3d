"""The tables of the store, typed. A change here needs a migration in ``migrations/versions``; a test compares them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, Index, Integer, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from dualcast.timegrid import as_utc

_Json = JSON().with_variant(JSONB(), "postgresql")
_Id = BigInteger().with_variant(Integer(), "sqlite")


class Moment(TypeDecorator[datetime]):
    """A time, UTC: aware on both sides, though SQLite keeps none of it. Refuses naive times."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """Before it is stored."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the store takes aware times only")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """After it was read."""
        if value is None:
            return None
        return as_utc(value)


class Base(DeclarativeBase):
    """What all tables share."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: Moment(),
        dict[str, Any]: _Json,
        list[str]: _Json,
        list[Any]: _Json,
    }


class ForecastRow(Base):
    """One curve that was published. Both paths may issue one of the same version at the same moment: the key has it."""

    __tablename__ = "forecasts"

    use_case: Mapped[str] = mapped_column(String(64), primary_key=True)
    path: Mapped[str] = mapped_column(String(16), primary_key=True)
    entity_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    issued_at: Mapped[datetime] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(String(128), primary_key=True)
    model_name: Mapped[str] = mapped_column(String(256))
    target: Mapped[str] = mapped_column(String(128))
    unit: Mapped[str] = mapped_column(String(32))
    resolution: Mapped[str] = mapped_column(String(32))
    code_version: Mapped[str] = mapped_column(String(128))
    data_version: Mapped[str] = mapped_column(String(256))
    newest_input_at: Mapped[datetime]
    degraded: Mapped[bool]
    degraded_reasons: Mapped[list[str]]
    simulated: Mapped[bool]
    quantile_levels: Mapped[list[Any]]
    # {"valid_time": [ISO times], "values": [[one value for each level, null where there is none]]}
    points: Mapped[dict[str, Any]]
    recorded_at: Mapped[datetime]

    __table_args__ = (Index("ix_forecasts_issued_at", "issued_at"),)


class PredictionRow(Base):
    """One curve that was computed for a request and published nowhere: what was answered, and to which call."""

    __tablename__ = "predictions"

    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    at: Mapped[datetime]
    trace_id: Mapped[str] = mapped_column(String(32))
    identity: Mapped[str] = mapped_column(String(200))
    use_case: Mapped[str] = mapped_column(String(64))
    entity_id: Mapped[str] = mapped_column(String(128))
    issued_at: Mapped[datetime]
    newest_input_at: Mapped[datetime]
    model_name: Mapped[str] = mapped_column(String(256))
    model_version: Mapped[str] = mapped_column(String(128))
    fallback: Mapped[str | None] = mapped_column(String(64))
    degraded_reasons: Mapped[list[str]]
    quantile_levels: Mapped[list[Any]]
    points: Mapped[dict[str, Any]]

    __table_args__ = (Index("ix_predictions_at", "at"),)


class AuditRow(Base):
    """One call of the API: who, what, and how it was answered. Holds no secret."""

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
    """A key that may ask: its digest, never itself."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    # SHA-256, hexadecimal: the key is 256 random bits, which no dictionary helps to find
    digest: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))
    access: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
