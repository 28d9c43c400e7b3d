"""The batch path: Kafka to the lake, to day-ahead curves, on Spark."""
