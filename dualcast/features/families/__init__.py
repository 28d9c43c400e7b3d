"""The feature functions, one file for each family. Importing this package registers them all."""

from dualcast.features.families import calendar, errors, levels, plans, weather, years

__all__ = ["calendar", "errors", "levels", "plans", "weather", "years"]
