"""Simulated R workspace files: one variable of nested lists, matrices and data frames, as R's ``save`` does.

Here: the bytes. Not here: what stands in them (``novartis_moabox``), or reading (``etl/formats/rdata.py``).
"""

import gzip
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

NA_INTEGER: Final = -(2**31)

_NULL, _SYMBOL, _PAIRLIST, _CHARACTERS = 254, 1, 2, 9
_INTEGER, _DOUBLE, _TEXT, _LIST, _REFERENCE = 13, 14, 16, 19, 255
_IS_OBJECT, _HAS_ATTRIBUTES, _HAS_TAG = 1 << 8, 1 << 9, 1 << 10
_ASCII, _UTF8 = 1 << 18, 1 << 15


class Matrix(NamedTuple):
    """A matrix of doubles (or integers) with names.

    Attributes:
        row_names: names of the rows.
        column_names: names of the columns.
        values: columns × rows, as R stores them.
    """

    row_names: Sequence[str]
    column_names: Sequence[str]
    values: NDArray[Any]


Value = Matrix | pl.DataFrame | Mapping[str, "Value"] | Sequence[Any] | NDArray[Any]
"""A mapping is a named list, a frame a data frame whose first column names its rows; a sequence of texts is a
vector, any other a list."""


def write(path: Path, variable: str, value: Value, *, version: int = 3) -> None:
    """Write a gzipped workspace of one variable; equal content gives equal bytes.

    Args:
        path: the file.
        variable: name of the variable.
        value: its value.
        version: serialization format, 2 or 3.
    """
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file:
        file.write(b"RDX%d\nX\n" % version + struct.pack(">iii", version, 0x040301, 0x020300))
        if version == 3:
            file.write(struct.pack(">i", 5) + b"UTF-8")
        writer = _Writer(file)
        writer.pair(variable, value)
        writer.word(_NULL)


class _Writer:
    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._symbols: dict[str, int] = {}

    def word(self, value: int) -> None:
        self._file.write(struct.pack(">i", value))

    def pair(self, tag: str, value: Value) -> None:
        """Write a link of a chain of pairs; the next one, or the end, follows."""
        self.word(_PAIRLIST | _HAS_TAG)
        if tag in self._symbols:
            self.word(_REFERENCE | self._symbols[tag] << 8)
        else:
            self._symbols[tag] = len(self._symbols) + 1
            self.word(_SYMBOL)
            self._characters(tag)
        self.item(value)

    def item(self, value: Value) -> None:
        if isinstance(value, Matrix):
            values = np.asarray(value.values)
            shape = np.array([len(value.row_names), len(value.column_names)], np.int32)
            self._numbers(values.ravel(), {"dim": shape, "dimnames": [value.row_names, value.column_names]})
        elif isinstance(value, pl.DataFrame):
            self._data_frame(value)
        elif isinstance(value, Mapping):
            self._list(list(value.values()), {"names": list(value)})
        elif isinstance(value, np.ndarray):
            self._numbers(value, {})
        else:
            self._sequence(value)

    def _sequence(self, values: Sequence[Any]) -> None:
        if not all(value is None or isinstance(value, str) for value in values):
            self._list(list(values), {})
            return
        self.word(_TEXT)
        self.word(len(values))
        for text in values:
            self._characters(text)

    def _data_frame(self, frame: pl.DataFrame) -> None:
        names, columns = frame.to_series(0).to_list(), frame.iter_columns()
        next(columns)
        values: list[Value] = [self._column(column) for column in columns]
        attributes = {"names": frame.columns[1:], "row.names": names, "class": ["data.frame"]}
        self._list(values, attributes, is_object=True)

    @staticmethod
    def _column(column: pl.Series) -> Value:
        if column.dtype == pl.String:
            return column.to_list()
        if column.dtype.is_integer():
            return column.fill_null(NA_INTEGER).to_numpy().astype(np.int32)
        return column.cast(pl.Float64).fill_null(np.nan).to_numpy()

    def _list(
        self, values: Sequence[Value], attributes: Mapping[str, Value], *, is_object: bool = False
    ) -> None:
        self.word(_LIST | (_HAS_ATTRIBUTES if attributes else 0) | (_IS_OBJECT if is_object else 0))
        self.word(len(values))
        for value in values:
            self.item(value)
        self._attributes(attributes)

    def _numbers(self, values: NDArray[Any], attributes: Mapping[str, Value]) -> None:
        kind, dtype = (_DOUBLE, ">f8") if values.dtype.kind == "f" else (_INTEGER, ">i4")
        self.word(kind | (_HAS_ATTRIBUTES if attributes else 0))
        self.word(len(values))
        self._file.write(values.astype(dtype).tobytes())
        self._attributes(attributes)

    def _attributes(self, attributes: Mapping[str, Value]) -> None:
        for name, value in attributes.items():
            self.pair(name, value)
        if attributes:
            self.word(_NULL)

    def _characters(self, text: str | None) -> None:
        if text is None:
            self._file.write(struct.pack(">ii", _CHARACTERS, -1))
            return
        raw = text.encode()
        self._file.write(
            struct.pack(">ii", _CHARACTERS | (_ASCII if text.isascii() else _UTF8), len(raw)) + raw
        )
