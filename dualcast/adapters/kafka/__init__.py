"""Kafka and the schema registry: connections, topics, the wire format, a producer and readers."""
