"""Simulated h5ad files: counts with their two tables, written by AnnData itself, as publishers do.

Here: the file. Not here: what stands in it (``op3``, ``dilimap``), or reading (``etl/formats/h5ad.py``).
"""

import warnings
from pathlib import Path

import anndata
import numpy as np
import polars as pl
from scipy import sparse


def write(
    path: Path, values: np.ndarray | sparse.csr_matrix, *, obs: pl.DataFrame, var: pl.DataFrame
) -> None:
    """Write an h5ad file, gzipped inside; equal content gives equal bytes.

    Args:
        path: the file.
        values: samples × genes.
        obs: one row per sample; the first column is the index. Repeated text becomes categorical, as AnnData
            does it.
        var: one row per gene; the first column is the index.
    """
    with warnings.catch_warnings():
        # Names that repeat are part of what is simulated.
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        table = anndata.AnnData(
            values,
            obs=obs.to_pandas().set_index(obs.columns[0]),
            var=var.to_pandas().set_index(var.columns[0]),
        )
        table.write_h5ad(path, compression="gzip")
