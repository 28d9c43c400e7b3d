"""Sources of observations, and the publisher that sends them to Kafka."""
