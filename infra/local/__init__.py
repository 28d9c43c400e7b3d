"""The embedded stack: real Kafka, schema registry, Redis and MLflow as processes of one user, without Docker."""
