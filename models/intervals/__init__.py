"""Prediction intervals: conformal offsets, and factors that adapt them to recent errors."""
