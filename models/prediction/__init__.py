"""Prediction: the model, how it is stored, and the curves that are made with it."""
