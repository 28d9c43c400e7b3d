"""The feature catalogue: pure functions of what was known at an origin, and what computes them.

``families`` holds the feature functions and ``window`` the values that they may read. ``plan`` computes the features
that a use case names; ``as_of`` does so from history, ``intraday`` from a stream. Importing this package registers all
functions.
"""

from dualcast.features import families as families
