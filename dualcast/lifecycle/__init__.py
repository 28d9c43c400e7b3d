"""The life of a model, without input or output: what a registered model is, and what it is called."""
