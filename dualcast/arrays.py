"""Names for the array types in the interfaces between packages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# numbers of intervals, as ``timegrid.Grid`` counts them, and other whole numbers: codes, positions, counts
Slots = NDArray[np.int64]
Ints = NDArray[np.int64]
# microseconds since 1970-01-01T00:00Z
Micros = NDArray[np.int64]
Texts = NDArray[np.object_]
Bytes = NDArray[np.uint8]
