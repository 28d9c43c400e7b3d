"""Sources that send telemetry: observations over MQTT."""
