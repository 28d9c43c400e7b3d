"""Evaluation: actuals, scores, and their table."""
