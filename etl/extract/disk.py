"""The disk: what is free, and what it says when it cannot take more.

Here: nothing about files' contents.
"""

import errno
import shutil
from pathlib import Path
from typing import Final

from etl.extract.errors import FetchError, NoSpaceError

RESERVE_BYTES: Final = 2**30
"""Left free on the disk: a full disk harms more than a missing file."""


def free_bytes(folder: Path) -> int:
    """Return the bytes that may still be written below a folder, which need not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return max(0, shutil.disk_usage(existing).free - RESERVE_BYTES)


def disk_error(fault: OSError, file: str) -> FetchError:
    """Return the error that tells the user why a file cannot be written."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpaceError("the disk is full", file=file, remedy="free some space and run it again")
    return FetchError(f"cannot be written ({fault.strerror or fault})", file=file)
