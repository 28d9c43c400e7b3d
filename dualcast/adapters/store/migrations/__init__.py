"""The migrations of the store, which Alembic runs. ``env.py`` is loaded by it, not imported."""
