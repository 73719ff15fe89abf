"""Arrays: the types of arrays that most of the harness passes around, one name each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]  # per query, or whatever else is measured
Vectors = npt.NDArray[np.float32]  # one a row
Flags = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]  # of documents, or of tokens
Counts = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]  # of documents or queries in their collection; -1 where there is none
Indices = npt.NDArray[np.int64]  # places in any array
Integers = npt.NDArray[np.integer]
Clusters = npt.NDArray[np.integer]  # of each query: those of one number belong together
Arrays = Mapping[str, npt.NDArray[Any]]  # by name, as a file holds them
