"""Reader of R workspace files (``.RData``, ``.rda``), one part of a large object after the other.

Here: R's serialization format as ``save`` writes it, walked in a stream, and R's matrices and data frames as
arrays and tables. Not here: what the objects mean (the adapters), matrices that R wrote to HDF5
(``r_matrix``), files of ``saveRDS``, and text or little-endian files, which nobody publishes.

The format is described in "R Internals", section "Serialization Formats". A file is compressed as a whole
(gzip, bzip2, xz or not at all) and starts with ``RDX2`` or ``RDX3``; all numbers are big-endian. An item is a
word of flags (its type in the lowest byte, whether attributes and a tag follow), then its data, then its
attributes: what names the elements of a list, and the shape of a matrix, come after the values. Symbols and
environments are numbered as they come and referred to by number later.

Nothing is evaluated. Functions, environments, pointers and S4 objects are walked through and stand as
``ROther``; byte code, whose layout is another format, is refused.
"""

import bz2
import codecs
import lzma
import struct
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from etl.errors import BadInputError

ROW_NAME: Final = "row_name"
"""Column of ``as_table`` that holds the names of the rows of a data frame."""

NA_INTEGER: Final = -(2**31)
"""What R stores for a missing integer, truth value or code of a factor."""

MAX_VECTOR_BYTES: Final = 2**31
"""A longer vector is refused: nobody who streams a file wants one in memory."""

_MAX_DEPTH: Final = 200
_PIECE_BYTES: Final = 1 << 20

_OPENERS: Final = ((b"\x1f\x8b", igzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))
_FAULTS: Final[tuple[type[Exception], ...]] = (OSError, EOFError, isal_zlib.error, lzma.LZMAError)  # type: ignore[assignment] # wrong stub

# Types of items, as in R's sources.
_SYMBOL, _PAIRLIST, _CLOSURE, _ENVIRONMENT, _PROMISE, _CALL = 1, 2, 3, 4, 5, 6
_SPECIAL, _BUILTIN, _CHARACTERS, _TEXTS, _DOTS, _LIST, _EXPRESSION = 7, 8, 9, 16, 17, 19, 20
_BYTE_CODE, _POINTER, _WEAK_REFERENCE, _S4 = 21, 22, 23, 25
_ALTERNATIVE, _PERSISTENT, _PACKAGE, _NAMESPACE, _NULL, _REFERENCE = 238, 247, 248, 249, 254, 255
_SINGLETONS: Final = {
    241: "base environment",
    242: "empty environment",
    250: "base namespace",
    251: "missing argument",
    252: "unbound value",
    253: "global environment",
    _NULL: "NULL",
}
_PAIRED: Final = {
    _PAIRLIST: "pairlist",
    _CLOSURE: "function",
    _PROMISE: "promise",
    _CALL: "call",
    _DOTS: "dots",
}
"""Types that are laid out as pairs of a value and what follows."""
_NUMBERS: Final[Mapping[int, tuple[str, np.dtype[Any]]]] = {
    10: ("logical", np.dtype(np.int32)),
    13: ("integer", np.dtype(np.int32)),
    14: ("double", np.dtype(np.float64)),
    15: ("complex", np.dtype(np.complex128)),
    24: ("raw", np.dtype(np.uint8)),
}
_HAS_ATTRIBUTES, _HAS_TAG = 1 << 9, 1 << 10
_LATIN1, _UTF8, _ASCII = 1 << 14, 1 << 15, 1 << 18
"""Encoding of a text: bits of the flags of its characters; none of them means the native encoding."""


@dataclass(frozen=True, slots=True, eq=False)
class RNumbers:
    """A vector of numbers.

    Args:
        kind: ``logical``, ``integer``, ``double``, ``complex`` or ``raw``.
        values: int32 (``NA_INTEGER`` where missing), float64 (NaN), complex128 or uint8; None where the
            vector was passed over.
        length: number of values.
        attributes: by name.
    """

    kind: str
    values: NDArray[Any] | None
    length: int
    attributes: Mapping[str, "RObject"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RTexts:
    """A vector of texts; None where missing."""

    values: list[str | None]
    attributes: Mapping[str, "RObject"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RList:
    """A list; its names, where it has any, are the attribute ``names``."""

    values: list["RObject"]
    attributes: Mapping[str, "RObject"] = field(default_factory=dict)

    def by_name(self) -> dict[str, "RObject"]:
        """Return the elements that have a name, by name; the first of those that share one, as ``$`` in R."""
        names = self.attributes.get("names")
        if not isinstance(names, RTexts):
            return {}
        pairs = zip(names.values, self.values, strict=False)
        found: dict[str, RObject] = {}
        for name, value in pairs:
            if name:
                found.setdefault(name, value)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class ROther:
    """Anything that is no data: ``NULL``, a symbol, a function, an environment and the like.

    Args:
        kind: what it is.
        name: name of a symbol; else empty.
    """

    kind: str
    name: str = ""


RObject = RNumbers | RTexts | RList | ROther


class Record(NamedTuple):
    """One part of a variable.

    Attributes:
        where: which one, in R's words: ``Exp[[1]][[2]]``.
        value: the part.
    """

    where: str
    value: RObject


class RMatrix(NamedTuple):
    """A matrix with names.

    Attributes:
        row_names: names of the rows, in order.
        column_names: names of the columns, in order.
        values: columns × rows, since R stores column after column; float64, or int32 where no value is
            missing; None where the values were passed over.
    """

    row_names: list[str]
    column_names: list[str]
    values: NDArray[Any] | None


def records(path: Path, variable: str, *, depth: int, longest: int | None = None) -> Generator[Record]:
    """Yield what stands some lists below a variable, in file order; one record is in memory at a time.

    Once all are taken, the rest of the file is read to its end, so that a damaged archive does not pass.

    Args:
        path: the workspace file.
        variable: the variable; others are walked through.
        depth: number of lists around a record; 0 is the variable itself.
        longest: vectors of more numbers than this are passed over; None reads all.

    Raises:
        BadInputError: not such a file, truncated or damaged, there is no such variable, it is no list where
            one is expected, or something that is not read (byte code, an unknown type) comes before its end.
    """
    with _opened(path) as stream:
        reader = _Reader(stream, longest)
        reader.read_header()
        names: list[str] = []
        while (name := reader.read_variable_name()) is not None:
            if name == variable:
                yield from reader.below(depth, variable)
                stream.read_to_end()
                return
            names.append(name)
            reader.item()
        held = ", ".join(names) or "nothing"
        raise stream.error(f"the file holds {variable}, but this one holds {held}")


def as_matrix(value: RObject, *, path: Path, where: str) -> RMatrix:
    """Return a matrix of numbers, with the names of both axes.

    Args:
        value: the object.
        path: for messages.
        where: for messages.

    Raises:
        BadInputError: no matrix of numbers, another length than its shape says, or an axis without names.
    """
    fault = BadInputError(
        "a matrix of numbers with names of rows and columns is expected", file=path, row=where
    )
    if not isinstance(value, RNumbers) or value.kind not in ("integer", "double"):
        raise fault
    shape, names = value.attributes.get("dim"), value.attributes.get("dimnames")
    if not isinstance(shape, RNumbers) or shape.values is None or not isinstance(names, RList):
        raise fault
    axes = [axis.values for axis in names.values if isinstance(axis, RTexts)]
    lengths = [int(length) for length in shape.values]
    if [len(axis) for axis in axes] != lengths or len(axes) != 2 or lengths[0] * lengths[1] != value.length:
        raise fault
    rows, columns = ([name or "" for name in axis] for axis in axes)
    if value.values is None:
        return RMatrix(rows, columns, None)
    values = value.values
    if value.kind == "integer" and (is_missing := values == NA_INTEGER).any():
        values = np.where(is_missing, np.nan, values)
    return RMatrix(rows, columns, values.reshape(len(columns), len(rows)))


def as_table(value: RObject, *, path: Path, where: str) -> pl.DataFrame:
    """Return a data frame: ``row_name``, then its columns.

    Numbers are Int32 or Float64, truth values Boolean, texts and factors String; missing is null. Rows
    without names of their own are ``1``, ``2``, ….

    Args:
        value: the object.
        path: for messages.
        where: for messages.

    Raises:
        BadInputError: no data frame, columns of different lengths, a column that is repeated or that is
            neither text nor numbers.
    """
    names = value.attributes.get("names") if isinstance(value, RList) else None
    if (
        not isinstance(value, RList)
        or not isinstance(names, RTexts)
        or len(names.values) != len(value.values)
    ):
        raise BadInputError("a data frame is expected", file=path, row=where)
    columns: dict[str, pl.Series] = {}
    for name, column in zip(names.values, value.values, strict=True):
        if not name or name in columns or name == ROW_NAME:
            raise BadInputError("the column has no name or a repeated one", file=path, row=where, column=name)
        series = _as_series(column)
        if series is None:
            rule = "a column of text or numbers is expected"
            raise BadInputError(rule, file=path, row=where, column=name)
        columns[name] = series
    rows = _row_names(value.attributes.get("row.names"))
    lengths = {name: len(series) for name, series in columns.items() if len(series) != len(rows)}
    if lengths:
        name, length = next(iter(lengths.items()))
        rule = f"{length} values where the data frame has {len(rows)} rows"
        raise BadInputError(rule, file=path, row=where, column=name)
    return pl.DataFrame({ROW_NAME: pl.Series(rows, dtype=pl.String), **columns})


def _as_series(column: RObject) -> pl.Series | None:
    """Return a column of a data frame; None where it is no vector of text or plain numbers."""
    if isinstance(column, RTexts):
        return pl.Series(column.values, dtype=pl.String)
    if not isinstance(column, RNumbers) or column.values is None or "dim" in column.attributes:
        return None
    if column.kind == "double":
        return pl.Series(column.values, dtype=pl.Float64).fill_nan(None)
    if column.kind not in ("integer", "logical"):
        return None
    codes = pl.Series(column.values, dtype=pl.Int32)
    codes = codes.set(codes == NA_INTEGER, None)
    if column.kind == "logical":
        return codes.cast(pl.Boolean)
    levels = column.attributes.get("levels")
    if not isinstance(levels, RTexts):
        return codes
    known = codes.drop_nulls()
    if known.len() and not known.is_between(1, len(levels.values)).all():
        return None
    return pl.Series(levels.values, dtype=pl.String).gather(codes - 1)


def _row_names(names: RObject | None) -> list[str]:
    """Return row names; numbers from 1 are stored as a missing integer and their count."""
    if isinstance(names, RTexts):
        return [name or "" for name in names.values]
    if not isinstance(names, RNumbers) or names.values is None:
        return []
    numbers = names.values.tolist()
    if len(numbers) == 2 and numbers[0] == NA_INTEGER:
        numbers = range(1, abs(int(numbers[1])) + 1)
    return [str(int(number)) for number in numbers]


class _Stream:
    """Decompressed bytes, taken from the front; ``data[at:]`` is what has been read ahead."""

    __slots__ = ("_file", "at", "data", "path")

    def __init__(self, file: Any, path: Path) -> None:
        self._file, self.path = file, path
        self.data, self.at = b"", 0

    def error(self, rule: str, *, where: str | None = None) -> BadInputError:
        return BadInputError(rule, file=self.path, row=where)

    def reserve(self, size: int) -> None:
        """Read ahead so that ``size`` bytes are at hand."""
        rest = self.data[self.at :]
        pieces, missing = [rest], size - len(rest)
        while missing > 0:
            piece = self._read(max(_PIECE_BYTES, missing))
            pieces.append(piece)
            missing -= len(piece)
        self.data, self.at = b"".join(pieces), 0

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        if self.at + size > len(self.data):
            self.reserve(size)
        start, self.at = self.at, self.at + size
        return self.data[start : self.at]

    def fill(self, target: memoryview) -> None:
        """Read into a buffer as much as it holds; no second copy of a large vector is made."""
        ahead = self.data[self.at : self.at + len(target)]
        target[: len(ahead)] = ahead
        self.at += len(ahead)
        done = len(ahead)
        while done < len(target):
            piece = self._read(min(_PIECE_BYTES, len(target) - done))
            target[done : done + len(piece)] = piece
            done += len(piece)

    def skip(self, size: int) -> None:
        """Pass over bytes."""
        ahead = min(size, len(self.data) - self.at)
        self.at += ahead
        size -= ahead
        while size:
            size -= len(self._read(min(_PIECE_BYTES, size)))

    def read_to_end(self) -> None:
        """Read what is left, which checks the sum at the end of an archive."""
        self.data, self.at = b"", 0
        while self._piece(_PIECE_BYTES):
            pass

    def _read(self, size: int) -> bytes:
        piece = self._piece(size)
        if not piece:
            raise self.error("the file is truncated: it ends within an object")
        return piece

    def _piece(self, size: int) -> bytes:
        try:
            piece: bytes = self._file.read(size)
        except _FAULTS as fault:
            raise self.error(f"cannot be decompressed: {fault}") from fault
        return piece


@contextmanager
def _opened(path: Path) -> Iterator[_Stream]:
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), open)
    with opener(path, "rb") as opened:
        yield _Stream(opened, path)


class _Reader:
    """Items of R's serialization format, read one after the other."""

    def __init__(self, stream: _Stream, longest: int | None) -> None:
        self._stream, self._longest = stream, longest
        self._references: list[RObject] = []
        self._native = "utf-8"
        self._depth = 0
        self._where: str | None = None

    def read_header(self) -> None:
        stream = self._stream
        magic = stream.take(5)
        if magic not in (b"RDX2\n", b"RDX3\n"):
            shown = magic.decode("latin-1").strip()
            raise stream.error(f"an R workspace file in XDR format starts with RDX2 or RDX3, not {shown!r}")
        if stream.take(2) != b"X\n":
            raise stream.error("the workspace is not in XDR format")
        version, _, _ = (self._integer() for _ in range(3))
        if version not in (2, 3) or version != int(magic[3:4]):
            raise stream.error(f"serialization format {version} is not read")
        if version == 3:
            name = stream.take(self._size()).decode("ascii", "replace")
            try:
                self._native = codecs.lookup(name).name
            except LookupError as fault:
                raise stream.error(f"the native encoding {name!r} is unknown") from fault

    def read_variable_name(self) -> str | None:
        """Read up to the value of the next variable; None where there is no more."""
        flags = self._integer()
        if flags & 255 == _NULL:
            return None
        if flags & 255 != _PAIRLIST or not flags & _HAS_TAG:
            raise self._error("a workspace is a list of variables")
        if flags & _HAS_ATTRIBUTES:
            self._pairs(self._integer())
        self._where = self._tag()
        return self._where

    def below(self, depth: int, where: str) -> Iterator[Record]:
        """Yield the items that lie ``depth`` lists below the next one."""
        self._where = where
        if depth == 0:
            yield Record(where, self.item())
            return
        flags = self._integer()
        if flags & 255 != _LIST:
            raise self._error("a list is expected")
        for position in range(1, self._length() + 1):
            yield from self.below(depth - 1, f"{where}[[{position}]]")
        self._where = where
        self._attributes(flags)

    def item(self) -> RObject:
        """Read an item with all that belongs to it."""
        return self._item(self._integer())

    def _item(self, flags: int) -> RObject:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error(f"objects are nested more than {_MAX_DEPTH} deep")
        kind = flags & 255
        if kind in _NUMBERS:
            found: RObject = self._numbers(flags)
        elif kind == _TEXTS:
            texts = self._texts(self._length())
            found = RTexts(texts, self._attributes(flags))
        elif kind in (_LIST, _EXPRESSION):
            values = [self.item() for _ in range(self._length())]
            found = RList(values, self._attributes(flags))
        elif kind in _PAIRED:
            pairs = self._pairs(flags)
            names = RTexts([tag for tag, _ in pairs])
            is_data = kind == _PAIRLIST
            found = RList([one for _, one in pairs], {"names": names}) if is_data else ROther(_PAIRED[kind])
        else:
            found = self._other(kind, flags)
        self._depth -= 1
        return found

    def _numbers(self, flags: int) -> RNumbers:
        kind, dtype = _NUMBERS[flags & 255]
        length = self._length()
        values = None
        if self._longest is not None and length > self._longest:
            self._stream.skip(length * dtype.itemsize)
        elif length * dtype.itemsize > MAX_VECTOR_BYTES:
            raise self._error(f"a vector of {length} numbers is longer than what is read")
        else:
            values = np.empty(length, dtype)
            self._stream.fill(values.view(np.uint8).data)
            if sys.byteorder == "little":
                # Both parts of a complex number are swapped by themselves.
                values.byteswap(inplace=True)
        return RNumbers(kind, values, length, self._attributes(flags))

    def _texts(self, length: int) -> list[str | None]:
        """Read characters; a matrix names tens of thousands of genes, so nothing is called per text."""
        stream = self._stream
        head = struct.Struct(">ii")
        texts: list[str | None] = []
        for _ in range(length):
            if stream.at + 8 > len(stream.data):
                stream.reserve(8)
            flags, size = head.unpack_from(stream.data, stream.at)
            if flags & 255 != _CHARACTERS or size < -1:
                raise self._error("a text is expected")
            stream.at += 8
            if size < 0:
                texts.append(None)
                continue
            if stream.at + size > len(stream.data):
                stream.reserve(size)
            raw = stream.data[stream.at : stream.at + size]
            stream.at += size
            if flags & _LATIN1:
                encoding = "latin-1"
            elif flags & (_UTF8 | _ASCII):
                encoding = "utf-8"
            else:
                encoding = self._native
            try:
                texts.append(raw.decode(encoding))
            except UnicodeDecodeError as fault:
                raise self._error(f"a text that is not in {encoding}: {raw[:40]!r}") from fault
        return texts

    def _other(self, kind: int, flags: int) -> RObject:
        """Read what is neither a vector nor laid out in pairs."""
        if kind in _SINGLETONS:
            return ROther(_SINGLETONS[kind])
        if kind == _SYMBOL:
            return self._remember(ROther("symbol", self._texts(1)[0] or "NA"))
        if kind == _REFERENCE:
            return self._referred(flags >> 8)
        if kind == _ALTERNATIVE:
            return self._alternative()
        if kind == _ENVIRONMENT:
            return self._environment()
        if kind in (_PERSISTENT, _PACKAGE, _NAMESPACE):
            self._integer()
            self._texts(self._length())
            return self._remember(ROther("environment"))
        if kind in (_SPECIAL, _BUILTIN):
            self._stream.skip(self._size())
            found: RObject = ROther("function")
        elif kind == _CHARACTERS:
            # The word of flags has been taken, the text's length comes next.
            self._stream.skip(max(0, self._integer()))
            found = ROther("characters")
        elif kind == _POINTER:
            found = self._remember(ROther("pointer"))
            self.item()
            self.item()
        elif kind == _WEAK_REFERENCE:
            found = self._remember(ROther("weak reference"))
        elif kind == _S4:
            found = ROther("S4 object")
        else:
            what = "byte code" if kind == _BYTE_CODE else f"an item of type {kind}"
            raise self._error(f"{what} is not read")
        self._attributes(flags)
        return found

    def _environment(self) -> RObject:
        # Known before it is filled: what is in it may refer to it.
        found = self._remember(ROther("environment"))
        self._integer()
        for _ in ("enclosure", "frame", "hash table", "attributes"):
            self.item()
        return found

    def _alternative(self) -> RObject:
        """Read a vector in one of R's alternative representations, and return the vector it stands for."""
        info, state, extra = self.item(), self.item(), self.item()
        name = ""
        if isinstance(info, RList) and info.values and isinstance(info.values[0], ROther):
            name = info.values[0].name
        attributes = extra.by_name() if isinstance(extra, RList) else {}
        held = state.values[0] if isinstance(state, RList) and state.values else None
        if name.startswith("wrap_"):
            if isinstance(held, RNumbers):
                return RNumbers(held.kind, held.values, held.length, attributes)
            if isinstance(held, RTexts | RList):
                return type(held)(held.values, attributes)  # type: ignore[arg-type]
        if name in ("compact_intseq", "compact_realseq") and isinstance(state, RNumbers):
            return self._sequence(name, state, attributes)
        if name == "deferred_string" and isinstance(held, RNumbers):
            return RTexts(self._as_texts(held), attributes)
        raise self._error(f"the alternative representation {name or 'without name'} is not read")

    def _sequence(self, name: str, state: RNumbers, attributes: Mapping[str, RObject]) -> RNumbers:
        if state.values is None or len(state.values) != 3:
            raise self._error("a sequence has a length, a start and a step")
        length, start, step = (float(number) for number in state.values)
        kind, dtype = _NUMBERS[13] if name == "compact_intseq" else _NUMBERS[14]
        if not 0 <= length * dtype.itemsize <= MAX_VECTOR_BYTES:
            raise self._error(f"a sequence of {length} numbers is longer than what is read")
        values = (start + step * np.arange(int(length))).astype(dtype)
        return RNumbers(kind, values, int(length), attributes)

    def _as_texts(self, numbers: RNumbers) -> list[str | None]:
        """Return texts of whole numbers, as R writes them up to 100,000."""
        values = numbers.values
        if values is None:
            raise self._error(f"a vector of {numbers.length} texts is longer than asked for")
        if numbers.kind == "integer":
            return [None if value == NA_INTEGER else str(value) for value in values.tolist()]
        # Above, R may write 1e+05; of fractions, the shortest text is not always R's.
        if numbers.kind == "double" and bool(((values == np.floor(values)) & (np.abs(values) < 1e5)).all()):
            return [str(int(value)) for value in values.tolist()]
        raise self._error("texts that R would make of fractions or large numbers are not read")

    def _attributes(self, flags: int) -> dict[str, RObject]:
        return dict(self._pairs(self._integer())) if flags & _HAS_ATTRIBUTES else {}

    def _pairs(self, flags: int) -> list[tuple[str, RObject]]:
        """Read a chain of pairs with their tags (empty where there is none), the first flags being taken.

        A loop, not a recursion: a chain may be as long as a program.
        """
        pairs: list[tuple[str, RObject]] = []
        while flags & 255 in _PAIRED:
            self._attributes(flags)
            tag = self._tag() if flags & _HAS_TAG else ""
            pairs.append((tag, self.item()))
            flags = self._integer()
        if flags & 255 != _NULL:
            pairs.append(("", self._item(flags)))
        return pairs

    def _tag(self) -> str:
        """Read a tag: a symbol, or the environment of a function."""
        tag = self.item()
        return tag.name if isinstance(tag, ROther) else ""

    def _remember(self, item: ROther) -> ROther:
        self._references.append(item)
        return item

    def _referred(self, number: int) -> RObject:
        number = number or self._integer()
        if not 1 <= number <= len(self._references):
            raise self._error(f"reference {number} to something that has not been")
        return self._references[number - 1]

    def _length(self) -> int:
        """Read the length of a vector; those above 2³¹ − 1 come in two words after a -1."""
        length = self._integer()
        if length == -1:
            high, low = struct.unpack(">II", self._stream.take(8))
            length = (high << 32) + low
        if length < 0:
            raise self._error("a vector has a negative length")
        return length

    def _size(self) -> int:
        size = self._integer()
        if not 0 <= size < _PIECE_BYTES:
            raise self._error(f"a name of {size} bytes")
        return size

    def _integer(self) -> int:
        (value,) = struct.unpack(">i", self._stream.take(4))
        return int(value)

    def _error(self, rule: str) -> BadInputError:
        return self._stream.error(rule, where=self._where)
