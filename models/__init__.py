"""Forecasters, training, promotion and scoring."""
