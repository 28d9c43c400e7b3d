"""Sources of observations, and their way to Kafka."""
