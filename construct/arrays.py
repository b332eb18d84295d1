"""Types of numpy arrays: float64 for numbers, int64 for token numbers and indices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]
