"""Spark for all jobs: the session, incremental reads of Kafka, conditions and partitions."""
