"""From feature rows and a registered model to forecasts: what the batch job and the services call, by path."""
