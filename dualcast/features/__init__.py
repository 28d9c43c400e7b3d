"""The feature catalogue: pure functions of what was known, one file for each family.

``registry`` holds the functions by name, ``window`` is all that they may look at, ``plan`` runs those that a use case
names, ``asof`` makes windows from history and ``state`` from a stream. Importing a family enters its functions.
"""

from dualcast.features import calendar, errors, levels, plans, weather, years

FAMILIES = (calendar, errors, levels, plans, weather, years)
