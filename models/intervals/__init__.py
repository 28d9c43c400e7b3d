"""Prediction intervals: conformal offsets, and factors that follow the published record."""
