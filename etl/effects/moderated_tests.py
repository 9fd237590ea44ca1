"""Moderated t tests of blocks of contrasts: from effects and standard errors to p and adjusted p.

Belongs here: the order of the steps within a block, and its memory. Does not belong here: the tails of t
(``student_t``), the adjustment (``multiple_testing``), and where standard errors come from.
"""

import threading

import numpy as np
import numpy.typing as npt

from etl.arrays import FloatArray, slices
from etl.effects.multiple_testing import adjust_rows
from etl.effects.student_t import StudentTails

VALUES_AT_A_TIME = 32_768
"""Values worked on in one go: 256 kB, so that every step finds them in the second-level cache."""


class ModeratedTests:
    """Tests of the contrasts of one fit, a block at a time; several threads may share one instance.

    >>> tests = ModeratedTests(total_df=np.array([5.0, 5.0, np.inf]))
    >>> p, adjusted = tests.p_values(np.array([[2.0, 0.0, 1.0]]), np.array([[1.0, 0.0, 0.5]]))
    >>> p.round(4).tolist(), adjusted.round(4).tolist()
    ([[0.1019, nan, 0.0455]], [[0.1019, nan, 0.091]])
    """

    def __init__(self, total_df: npt.ArrayLike) -> None:
        """Prepare the tails of t once for all contrasts.

        Args:
            total_df: degrees of freedom of each gene, G; may be infinite, and NaN or 0 for genes without a
                test.
        """
        self._tails = StudentTails(total_df)
        self._n_genes = np.asarray(total_df).size
        self._memory = threading.local()

    def p_values(
        self,
        effect: npt.NDArray[np.floating],
        standard_error: npt.NDArray[np.floating],
        *,
        dtype: npt.DTypeLike = np.float64,
        out: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return two-sided p-values and their Benjamini-Hochberg adjustment within each contrast.

        All steps are in float64 and without the GIL. An effect other than 0 with standard error 0 has p = 0;
        0 / 0 is no test: NaN, and not counted by the adjustment.

        Args:
            effect: contrasts x G, float32 or float64.
            standard_error: the same shape, or one that broadcasts to it.
            dtype: float32 or float64, of the results.
            out: where to write p and adjusted p instead of new arrays, contrasts x G each.

        Raises:
            ValueError: the shapes do not match.
        """
        if effect.ndim != 2 or effect.shape[1] != self._n_genes:
            raise ValueError(f"effects are contrasts x {self._n_genes}, not {effect.shape}")
        standard_error = np.broadcast_to(standard_error, effect.shape)
        p_value, adjusted = out or (np.empty(effect.shape, dtype), np.empty(effect.shape, dtype))
        if p_value.shape != effect.shape or adjusted.shape != effect.shape:
            raise ValueError(f"results are {effect.shape}, not {p_value.shape} and {adjusted.shape}")
        length = max(1, VALUES_AT_A_TIME // max(1, self._n_genes))
        work = self._work(min(length, len(effect)))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            for rows in slices(len(effect), length):
                block = work[: rows.stop - rows.start]
                np.divide(effect[rows], standard_error[rows], out=block, dtype=np.float64)
                self._tails.t_to_p(block)
                p_value[rows] = block
                adjust_rows(block, block)
                adjusted[rows] = block
        return p_value, adjusted

    def _work(self, n_rows: int) -> FloatArray:
        """Return this thread's working block, kept so that its memory is touched once."""
        work: FloatArray | None = getattr(self._memory, "work", None)
        if work is None or len(work) < n_rows:
            work = self._memory.work = np.empty((n_rows, self._n_genes))
        return work
