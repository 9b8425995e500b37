"""Types of the arrays that the package passes around."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]  # H W 3, RGB
LabelArray = npt.NDArray[np.int32]  # class indices, -1 is unlabelled
IntArray = npt.NDArray[np.integer]
CountArray = npt.NDArray[np.int64]
