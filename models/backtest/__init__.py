"""Backtests: forecasts of a past window as they would have been made then, and a report of how good they were."""
