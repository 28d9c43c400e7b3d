"""Runs from the command line: the daily run, its daemon, the archive, backtests and the skew check."""
