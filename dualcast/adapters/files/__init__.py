"""Observations from CSV and Parquet files, as a use case's replay mapping says."""
