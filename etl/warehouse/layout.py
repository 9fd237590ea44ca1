"""Physical policy of the tables: compression, row groups and file size. What a table means is in ``schemas``.

Sort order and partitions are facts of each table (``schemas.table.Table``). The figures below come from
``benchmarks/layout.py``.
"""

from typing import Final

from deltalake import WriterProperties

TARGET_FILE_BYTES: Final = 128 * 2**20
"""Upper size of a data file."""

WRITER: Final = WriterProperties(
    compression="ZSTD", compression_level=3, max_row_group_size=1_000_000, write_batch_size=65_536
)
"""Parquet settings of every table."""
