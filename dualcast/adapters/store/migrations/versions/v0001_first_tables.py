"""The first tables: forecasts, predictions, audit, api_keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None

_JSON = sa.JSON().with_variant(JSONB(), "postgresql")
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _forecasts()
    _predictions()
    _audit()
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("access", _JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME),
        sa.Column("revoked_at", _TIME),
    )


def downgrade() -> None:
    """Drop the tables with their rows."""
    for table in ("api_keys", "audit", "predictions", "forecasts"):
        op.drop_table(table)


def _forecasts() -> None:
    op.create_table(
        "forecasts",
        sa.Column("use_case", sa.String(64), primary_key=True),
        sa.Column("path", sa.String(16), primary_key=True),
        sa.Column("entity_id", sa.String(128), primary_key=True),
        sa.Column("issued_at", _TIME, primary_key=True),
        sa.Column("model_version", sa.String(128), primary_key=True),
        sa.Column("model_name", sa.String(256), nullable=False),
        sa.Column("target", sa.String(128), nullable=False),
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("resolution", sa.String(32), nullable=False),
        sa.Column("code_version", sa.String(128), nullable=False),
        sa.Column("data_version", sa.String(256), nullable=False),
        sa.Column("newest_input_at", _TIME, nullable=False),
        sa.Column("degraded", sa.Boolean, nullable=False),
        sa.Column("degraded_reasons", _JSON, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("quantile_levels", _JSON, nullable=False),
        sa.Column("points", _JSON, nullable=False),
        sa.Column("recorded_at", _TIME, nullable=False),
    )
    op.create_index("ix_forecasts_issued_at", "forecasts", ["issued_at"])


def _predictions() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
        sa.Column("identity", sa.String(200), nullable=False),
        sa.Column("use_case", sa.String(64), nullable=False),
        sa.Column("entity_id", sa.String(128), nullable=False),
        sa.Column("issued_at", _TIME, nullable=False),
        sa.Column("newest_input_at", _TIME, nullable=False),
        sa.Column("model_name", sa.String(256), nullable=False),
        sa.Column("model_version", sa.String(128), nullable=False),
        sa.Column("fallback", sa.String(64)),
        sa.Column("degraded_reasons", _JSON, nullable=False),
        sa.Column("quantile_levels", _JSON, nullable=False),
        sa.Column("points", _JSON, nullable=False),
    )
    op.create_index("ix_predictions_at", "predictions", ["at"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("service", sa.String(32), nullable=False),
        sa.Column("identity", sa.String(200), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("path", sa.String(256), nullable=False),
        sa.Column("use_case", sa.String(64)),
        sa.Column("entities", _JSON, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("model_versions", _JSON, nullable=False),
        sa.Column("latency_ms", sa.Double, nullable=False),
        sa.Column("trace_id", sa.String(32), nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_identity_at", "audit", ["identity", "at"])
