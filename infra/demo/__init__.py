"""The demo: one command runs the whole platform on one machine, from an empty folder to scored forecasts."""
