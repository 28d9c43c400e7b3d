"""The streaming path: sources into Kafka, and the Flink job from observations to features."""
