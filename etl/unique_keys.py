"""Keys of rows that come in blocks: whether one comes twice, in eight bytes a key.

Here: what a table and the check of its input have in common. Not here: which columns are a key.
"""

import numpy as np
import polars as pl


class UniqueKeys:
    """Hashes of the keys met so far, a block at a time.

    Among 30 million keys the chance that two different ones share a hash is 0.002 %.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def add(self, keys: pl.DataFrame) -> None:
        """Take the keys of a block, all columns and all rows of a frame; within it none stands twice."""
        self._blocks.append(keys.hash_rows().to_numpy())

    def n_repeated(self) -> int:
        """Return how many keys stand in more than one block, each counted once for every time it is back.

        >>> keys = UniqueKeys()
        >>> for block in ([1, 2], [3], [2, 3]):
        ...     keys.add(pl.DataFrame({"key": block}))
        >>> keys.n_repeated()
        2
        """
        if len(self._blocks) < 2:
            return 0
        found = np.sort(np.concatenate(self._blocks))
        return int((found[1:] == found[:-1]).sum())
