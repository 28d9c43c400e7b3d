"""The program that Alembic runs: it applies the migrations on the connection that ``migrate`` passes."""

from __future__ import annotations

from alembic import context

from dualcast.adapters.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
