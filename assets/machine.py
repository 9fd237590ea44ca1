"""How much memory this process may use."""

import os
from pathlib import Path


def usable_memory() -> int:
    """Return the bytes of memory that this machine has, or this container may use."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    limit = Path("/sys/fs/cgroup/memory.max")
    granted = limit.read_text().strip() if limit.is_file() else "max"
    return min(physical, int(granted)) if granted.isdigit() else physical
