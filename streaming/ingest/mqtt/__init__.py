"""Telemetry: observations over MQTT."""
