"""The relational store: forecasts, answers, the audit trail and API keys, in SQLite or PostgreSQL."""
