"""The embedded stack: Kafka, schema registry, Redis and MLflow as local user processes, without Docker."""
