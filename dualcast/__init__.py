"""The kernel of dualcast: what a forecast is, free of any engine."""

__version__ = "0.1.0"
