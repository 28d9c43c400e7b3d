"""Day-ahead curves with Spark: inference, interval widths, and published curves."""
