"""Observations from CSV and Parquet files, by a use case's replay mapping."""
