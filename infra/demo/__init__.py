"""The demo: the whole platform on one machine, from an empty folder to scored forecasts, in one command."""
