"""Day-ahead curves by Spark: inference, interval widths, and what is published already."""
