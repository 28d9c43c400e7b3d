"""The only input and output of the platform: Kafka, the lake, the feature store, the model registry, the forecasts."""
