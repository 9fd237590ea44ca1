"""HDF5 files with faults told to a person: opened, and read, with the file named and HDF5's reason.

Here: what every layout in HDF5 needs. Not here: a layout (``gctx``, ``h5ad``, ``r_matrix``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from etl.errors import BadInputError


@contextmanager
def opened(path: Path, what: str) -> Iterator[h5py.File]:
    """Open a file to read.

    Args:
        path: the file.
        what: what it is, with its article, such as ``a GCTX file``.

    Raises:
        BadInputError: the file is not HDF5, or truncated.
        FileNotFoundError: no such file.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise
    except OSError as error:
        rule = f"{what} is a complete HDF5 file, but it cannot be opened: {reason(error)}"
        raise BadInputError(rule, file=path) from error
    with file:
        yield file


def read(dataset: h5py.Dataset, part: Any, path: Path) -> np.ndarray:
    """Return a part of a dataset.

    Raises:
        BadInputError: the part is damaged, or compressed by a filter that is not here.
    """
    try:
        return np.asarray(dataset[part])
    except (OSError, RuntimeError) as error:
        raise BadInputError(f"{dataset.name} cannot be read: {reason(error)}", file=path) from error


def reason(error: BaseException) -> str:
    """Return why HDF5 failed, without what it was doing.

    >>> reason(OSError("Unable to synchronously open file (truncated file: eof = 10)"))
    'truncated file: eof = 10'
    """
    text = str(error.args[0] if error.args else error)
    return text[text.find("(") + 1 :].removesuffix(")") if "(" in text else text
