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

Polars encodes the files: on one thread of a busy machine 55 to 80 ns for a row with two ids and four floats.
pyarrow took 65 to 80, and 155 with its default of trying a dictionary for every float.
"""

from typing import Final, Literal

from deltalake import WriterProperties

COMPRESSION: Final[Literal["zstd"]] = "zstd"
"""Compression of every column."""

COMPRESSION_LEVEL: Final = 1
"""Its level."""

ROW_GROUP_ROWS: Final = 1_000_000
"""Rows of a row group: what a reader decodes, or skips, at a time."""

FILE_ROWS: Final = 4_000_000
"""Rows of a data file, about 60 MB of effects: a large context stays at a few files, each a unit of parallel
reading. A writer keeps fewer rows than this waiting, beside the chunk it is given."""

LONGEST_TEXT_STATISTIC: Final = 64
"""Characters up to which a text is worth its place in the log."""

WRITER: Final = WriterProperties(
    compression="ZSTD", compression_level=COMPRESSION_LEVEL, max_row_group_size=ROW_GROUP_ROWS
)
"""The same for what delta-rs writes: merges."""

LOG_RETENTION: Final = "interval 36500 days"
"""How long the log keeps its commits. By Delta's default a checkpoint drops those older than 30 days, and
with them the fingerprints that tell which partitions are up to date: all would be made anew."""
