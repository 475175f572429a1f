"""How a candidate lies in an array: an int64 column of GENES rows.

Rows: stem width, five stage widths, five hidden widths, five depths, five kernels. STEM, OUT, HIDDEN, DEPTH and KERNEL are
the first row of each; a stage's row is that plus its index from 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Genes = npt.NDArray[np.int64]
"""(GENES, P): one candidate per column."""
STAGES = 5
STEM, OUT, HIDDEN, DEPTH, KERNEL = 0, 1, 6, 11, 16
GENES = 21
TAP_STAGES = (2, 4, 5)
"""Stages, counted from 1, whose output the neck reads."""
