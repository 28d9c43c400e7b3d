"""Training: rows, fits, and registration of a model."""
