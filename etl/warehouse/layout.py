"""Physical policy of the tables: compression, row groups and file size. What a table means is in ``schemas``.

Sort order and partitions are facts of each table (``schemas.table.Table``). The figures are of one run of
``benchmarks/layout.py``: 19.56 million rows of mart/differential_expression, 2 cores. Against Snappy:

======================================= ====== ======= ========= ================
setting                                 size   write   read all  read a condition
======================================= ====== ======= ========= ================
ZSTD level 1, groups of a million rows  0.90   4.9 s   0.24 s    10 ms
ZSTD level 3                            0.89   6.4 s   0.42 s    9 ms
ZSTD level 9                            0.88   8.7 s   0.23 s    8 ms
ZSTD level 3, groups of 100,000 rows    1.10   6.8 s   0.44 s    5 ms
ZSTD level 3, floats split by byte      0.76   4.5 s   1.08 s    5 ms
======================================= ====== ======= ========= ================

Higher levels cost time and save one or two per cent. Splitting floats by byte saves 15 % more, but reading a
whole table, which is what training does, takes three to four times as long.
"""

from typing import Final

from deltalake import WriterProperties

TARGET_FILE_BYTES: Final = 128 * 2**20
"""Upper size of a data file: a large context stays at a few files, each a unit of parallel reading."""

WRITER: Final = WriterProperties(compression="ZSTD", compression_level=1, max_row_group_size=1_000_000)
"""Parquet settings of every table."""
