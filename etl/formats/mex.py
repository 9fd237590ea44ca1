"""Reader of Market-Exchange triplets: sparse counts of cells or wells, as Cell Ranger writes them.

Here: the three files, their agreement with each other, and counts as a sparse matrix. Not here: gene
identifiers and their versions, plate maps, and which barcodes are cells (adapters and quality control).

Layout: three files, each plain or gzipped (``.gz``), often behind a common prefix:

    matrix.mtx       %%MatrixMarket matrix coordinate integer general
                     % any number of comment lines
                     F B N              features, barcodes, entries
                     f b count          N lines, positions from 1
    features.tsv     F lines: feature id, then name and feature type as far as given; once ``genes.tsv``
    barcodes.tsv     B lines

The file is features x cells; what is handed back is cells x features.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from etl.errors import BadInputError

_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK_BYTES = 32 * 1024 * 1024
_LARGEST_COUNT = np.iinfo(np.int32).max
_FEATURE_COLUMNS = ("feature_id", "name", "feature_type")

_FILE_NAMES = {
    "matrix": ("matrix.mtx.gz", "matrix.mtx"),
    "features": ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv"),
    "barcodes": ("barcodes.tsv.gz", "barcodes.tsv"),
}


@dataclass(frozen=True, eq=False)
class CountMatrix:
    """Counts and the names of their axes.

    Attributes:
        barcodes: cell or well barcodes, unique, in file order.
        features: ``feature_id`` (unique), ``name`` and ``feature_type``, all String, in file order; null
            where the file has fewer columns. Columns beyond the third (genomic intervals) are not read.
        counts: CSR int32 of shape (barcodes, features), that is cells x genes; sorted, no explicit zeros.
    """

    barcodes: list[str]
    features: pl.DataFrame
    counts: sparse.csr_matrix


def read(folder: Path, prefix: str = "") -> CountMatrix:
    """Read the triplet of a folder.

    Args:
        folder: holds ``<prefix>matrix.mtx[.gz]``, ``<prefix>features.tsv[.gz]`` (or ``genes.tsv[.gz]``) and
            ``<prefix>barcodes.tsv[.gz]``.
        prefix: what precedes the three names, such as ``GSM123_``.

    Raises:
        BadInputError: one of the three is missing, or as ``read_files``.
    """
    found = {}
    for role, names in _FILE_NAMES.items():
        paths = [folder / f"{prefix}{name}" for name in names if (folder / f"{prefix}{name}").is_file()]
        if not paths:
            rule = f"a triplet holds {' or '.join(prefix + name for name in names)}, but the folder has none"
            raise BadInputError(rule, file=folder)
        if len(paths) > 1:
            rule = (
                f"a triplet holds its {role} once, but the folder has {' and '.join(p.name for p in paths)}"
            )
            raise BadInputError(rule, file=folder)
        found[role] = paths[0]
    return read_files(found["matrix"], features=found["features"], barcodes=found["barcodes"])


def read_files(matrix: Path, *, features: Path, barcodes: Path) -> CountMatrix:
    """Read a triplet whose files are named one by one.

    Raises:
        BadInputError: as ``read_counts``, ``read_features`` and ``read_barcodes``, or the three do not agree.
    """
    barcode_list, feature_frame = read_barcodes(barcodes), read_features(features)
    expected = (feature_frame.height, len(barcode_list))
    counts = _read_counts(matrix, expected)
    return CountMatrix(barcodes=barcode_list, features=feature_frame, counts=counts)


def read_features(path: Path) -> pl.DataFrame:
    """Read ``features.tsv``: String columns ``feature_id``, ``name``, ``feature_type`` (null if not given).

    Raises:
        BadInputError: empty, truncated or not UTF-8, a ragged line, or an id that is missing or repeated.
    """
    table = [line.split("\t") for line in _read_lines(path)]
    width = len(table[0])
    for row, cells in enumerate(table, start=1):
        if len(cells) != width:
            rule = f"every line has {width} cells like the first, but this one has {len(cells)}"
            raise BadInputError(rule, file=path, row=row)
    _require_unique([cells[0] for cells in table], "feature id", path)
    columns = {
        name: [cells[i] for cells in table] if i < width else [None] * len(table)
        for i, name in enumerate(_FEATURE_COLUMNS)
    }
    return pl.DataFrame(columns, schema=dict.fromkeys(_FEATURE_COLUMNS, pl.String))


def read_barcodes(path: Path) -> list[str]:
    """Read ``barcodes.tsv``: one barcode per line.

    Raises:
        BadInputError: empty, truncated or not UTF-8, or a barcode that is repeated, empty or holds a tab.
    """
    lines = _read_lines(path)
    for row, line in enumerate(lines, start=1):
        if "\t" in line:
            raise BadInputError(f"a line is one barcode, not {line[:60]!r}", file=path, row=row)
    _require_unique(lines, "barcode", path)
    return lines


def read_counts(path: Path) -> sparse.csr_matrix:
    """Read ``matrix.mtx`` alone, for a matrix whose axes are named elsewhere.

    Entries may come in any order. An entry of zero is counted as an entry and then not stored, as it says the
    same as no entry.

    Returns:
        CSR int32 of shape (columns of the file, rows of the file), that is cells x genes.

    Raises:
        BadInputError: a ``.gz`` that is not gzip or the reverse, a truncated file, a header other than
            ``matrix coordinate integer|real general``, an empty matrix, more or fewer entries than declared,
            a position outside the declared shape or given twice, a count that is negative, fractional or
            beyond 32 bits.
    """
    return _read_counts(path, None)


def _read_counts(path: Path, expected: tuple[int, int] | None) -> sparse.csr_matrix:
    parts: list[NDArray[np.int64]] = []
    cells: list[NDArray[np.int32]] = []
    n_read = 0
    with _opened(path) as file:
        is_real = _read_is_real(file, path)
        (n_features, n_cells, n_entries), row = _read_shape(file, expected, path)
        for text in _line_blocks(file, path):
            entries = _parse_entries(
                text, (n_features, n_cells), is_real=is_real, first_row=row + 1, path=path
            )
            row += text.count(b"\n")
            n_read += len(entries[0])
            if n_read > n_entries:
                raise BadInputError(f"the header declares {n_entries} entries, but there are more", file=path)
            parts.append((entries[1] - 1) * n_features + (entries[0] - 1))
            cells.append(entries[2].astype(np.int32))
    if n_read != n_entries:
        rule = f"the header declares {n_entries} entries, but there are {n_read}"
        raise BadInputError(rule, file=path)
    places = np.concatenate(parts) if parts else np.empty(0, np.int64)
    values = np.concatenate(cells) if cells else np.empty(0, np.int32)
    # Most files come sorted by cell and feature; sorting only when needed halves the time and the memory.
    if not (np.diff(places) > 0).all():
        order = np.argsort(places, kind="stable")
        places, values = places[order], values[order]
        twice = np.flatnonzero(np.diff(places) == 0)
        if len(twice):
            cell, feature = divmod(int(places[twice[0]]), n_features)
            rule = f"a position is given once, but feature {feature + 1} of barcode {cell + 1} is given twice"
            raise BadInputError(rule, file=path)
    index_type = np.int32 if max(n_read, n_features) <= _LARGEST_COUNT else np.int64
    pointers = np.searchsorted(places, np.arange(n_cells + 1, dtype=np.int64) * n_features).astype(index_type)
    counts = sparse.csr_matrix(
        (values, (places % n_features).astype(index_type), pointers), shape=(n_cells, n_features)
    )
    counts.eliminate_zeros()
    return counts


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    is_named_gzip = path.suffix == ".gz"
    with path.open("rb") as raw:
        is_gzip = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if is_named_gzip and not is_gzip:
            raise BadInputError("a file named .gz is gzip, but this one is not", file=path)
        if is_gzip and not is_named_gzip:
            raise BadInputError("the file is gzip, but its name does not end in .gz", file=path)
        if not is_gzip:
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                yield cast(BinaryIO, file)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            rule = f"the gzip stream is truncated or damaged: {error}"
            raise BadInputError(rule, file=path) from error


def _is_checked_by_gzip(path: Path) -> bool:
    # gzip ends in a checksum and a length, so a missing last line end cannot mean that something is cut off.
    return path.suffix == ".gz"


def _read_lines(path: Path) -> list[str]:
    with _opened(path) as file:
        raw = file.read()
    if not raw.strip():
        raise BadInputError("the file is empty", file=path)
    if not raw.endswith(b"\n") and not _is_checked_by_gzip(path):
        raise BadInputError("the last line is not ended: the file is truncated", file=path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"the text is UTF-8, but byte {error.start} is not", file=path) from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while not lines[-1]:
        lines.pop()
    return lines


def _require_unique(ids: list[str], what: str, path: Path) -> None:
    seen: dict[str, int] = {}
    for row, identifier in enumerate(ids, start=1):
        if not identifier:
            raise BadInputError(f"every line has a {what}, but this one has none", file=path, row=row)
        if identifier in seen:
            rule = f"a {what} is given once, but {identifier!r} is also in line {seen[identifier]}"
            raise BadInputError(rule, file=path, row=row)
        seen[identifier] = row


def _read_is_real(file: BinaryIO, path: Path) -> bool:
    """Whether the first line says that counts are written as reals."""
    words = file.readline(1024).decode("latin-1").lower().split()
    if not words or words[0] != "%%matrixmarket":
        raise BadInputError("the first line starts with %%MatrixMarket", file=path, row=1)
    is_readable = words[1:3] == ["matrix", "coordinate"] and words[4:] == ["general"]
    if not is_readable or words[3] not in {"integer", "real"}:
        rule = f"counts are 'matrix coordinate integer|real general', not {' '.join(words[1:])[:60]!r}"
        raise BadInputError(rule, file=path, row=1)
    return words[3] == "real"


def _read_shape(
    file: BinaryIO, expected: tuple[int, int] | None, path: Path
) -> tuple[tuple[int, int, int], int]:
    """Features, barcodes and entries as declared below banner and comments, and the row they are in."""
    line, row = file.readline(), 2
    while line.startswith(b"%") or (line and not line.strip()):
        line, row = file.readline(), row + 1
    if not line.endswith(b"\n") and not _is_checked_by_gzip(path):
        raise BadInputError("the file ends before or within its header", file=path, row=row)
    texts = line.split()
    if len(texts) != 3 or not all(re.fullmatch(rb"[0-9]{1,18}", text) for text in texts):
        rule = f"the header holds features, barcodes and entries, not {line[:60].decode('latin-1').strip()!r}"
        raise BadInputError(rule, file=path, row=row)
    n_features, n_cells, n_entries = map(int, texts)
    if not n_features or not n_cells:
        rule = f"a matrix has features and barcodes; the header declares {n_features} x {n_cells}"
        raise BadInputError(rule, file=path, row=row)
    if expected is not None and (n_features, n_cells) != expected:
        rule = (
            f"the header declares {n_features} features x {n_cells} barcodes, but the files beside it list "
            f"{expected[0]} features and {expected[1]} barcodes"
        )
        raise BadInputError(rule, file=path, row=row)
    if n_features * n_cells > np.iinfo(np.int64).max or n_entries > n_features * n_cells:
        rule = f"{n_entries} entries do not fit {n_features} features x {n_cells} barcodes"
        raise BadInputError(rule, file=path, row=row)
    return (n_features, n_cells, n_entries), row


def _line_blocks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Blocks of whole lines, so that the text of a large matrix is never in memory at once."""
    rest = b""
    while chunk := file.read(_CHUNK_BYTES):
        text = rest + chunk
        cut = text.rfind(b"\n") + 1
        rest = text[cut:]
        if cut:
            yield text[:cut]
    if not rest.strip():
        return
    if not _is_checked_by_gzip(path):
        raise BadInputError("the last line is not ended: the file is truncated", file=path)
    yield rest + b"\n"


def _parse_entries(
    text: bytes, shape: tuple[int, int], *, is_real: bool, first_row: int, path: Path
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Feature positions, barcode positions (both from 1) and counts of a block of lines."""
    entries = _parse_columns(text, is_real=is_real)
    if entries is None:
        # The standard allows any blanks between numbers, the fast parser exactly one.
        single = re.sub(rb"(?m)^ | (?=\r?$)", b"", re.sub(rb"[ \t]+", b" ", text))
        entries = _parse_columns(single, is_real=is_real)
    if entries is None:
        raise _find_fault(text, shape, is_real=is_real, first_row=first_row, path=path)
    features, cells, counts = entries
    is_good = (features >= 1) & (features <= shape[0]) & (cells >= 1) & (cells <= shape[1])
    is_good &= (counts >= 0) & (counts <= _LARGEST_COUNT)  # False for NaN, too
    whole = counts.astype(np.int64) if is_good.all() else None
    if whole is None or (whole != counts).any():
        raise _find_fault(text, shape, is_real=is_real, first_row=first_row, path=path)
    return features, cells, whole


def _parse_columns(text: bytes, *, is_real: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The three numbers of every line, or None where a line is not three numbers."""
    schema = {"feature": pl.Int64, "cell": pl.Int64, "count": pl.Float64 if is_real else pl.Int64}
    try:
        frame = pl.read_csv(BytesIO(text), separator=" ", has_header=False, schema=schema, quote_char=None)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pl.exceptions.NoDataError):
        return None
    if frame.select(pl.any_horizontal(pl.all().null_count() > 0)).item():
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))  # blank lines
        if frame.select(pl.any_horizontal(pl.all().null_count() > 0)).item():
            return None
    return frame["feature"].to_numpy(), frame["cell"].to_numpy(), frame["count"].to_numpy()


def _find_fault(
    text: bytes, shape: tuple[int, int], *, is_real: bool, first_row: int, path: Path
) -> BadInputError:
    """The first faulty line of a block that is known to hold one."""
    count_pattern = rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?" if is_real else rb"[+-]?\d+"
    for row, line in enumerate(text.split(b"\n"), start=first_row):
        numbers = line.split()
        if not numbers:
            continue
        shown = repr(line.strip()[:60].decode("latin-1"))
        is_line = (
            len(numbers) == 3
            and all(re.fullmatch(rb"[+-]?\d+", number) for number in numbers[:2])
            and re.fullmatch(count_pattern, numbers[2])
        )
        if not is_line:
            kind = "a number" if is_real else "an integer"
            rule = f"an entry is a feature, a barcode and {kind}, not {shown}"
            return BadInputError(rule, file=path, row=row)
        for position, size, what in zip(numbers, shape, ("feature", "barcode"), strict=False):
            if not 1 <= int(position) <= size:
                rule = f"{what} positions are within 1 and {size}, not {shown}"
                return BadInputError(rule, file=path, row=row)
        count = float(numbers[2])
        if count < 0 or count > _LARGEST_COUNT or count != int(count):
            rule = f"a count is a whole number from 0 to {_LARGEST_COUNT}, not {numbers[2].decode()}"
            return BadInputError(rule, file=path, row=row)
    return BadInputError(f"lines from {first_row} on are no entries", file=path, row=first_row)
