"""Kafka and the schema registry: clients, the wire format, topics and readers."""
