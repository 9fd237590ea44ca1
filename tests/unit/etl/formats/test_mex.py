import gzip
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats import mex

BANNER = "%%MatrixMarket matrix coordinate integer general\n"
MATRIX = BANNER + "% made by hand\n3 2 4\n1 1 5\n3 1 1\n2 2 7\n3 2 2147483647\n"
FEATURES = "ENSG1.2\tA\tGene Expression\nENSG2.1\tB\tGene Expression\nENSG3\tC\tGene Expression\n"
COUNTS = [[5, 0, 1], [0, 7, 2147483647]]


def write(folder: Path, matrix: str = MATRIX, features: str = FEATURES, barcodes: str = "AAC\nAAG\n") -> Path:
    for name, text in (("matrix.mtx", matrix), ("features.tsv", features), ("barcodes.tsv", barcodes)):
        (folder / name).write_text(text)
    return folder


def test_reads_cells_by_genes(tmp_path):
    found = mex.read(write(tmp_path))
    assert found.barcodes == ["AAC", "AAG"]
    assert found.features.columns == ["feature_id", "name", "feature_type"]
    assert found.features["feature_id"].to_list() == ["ENSG1.2", "ENSG2.1", "ENSG3"]
    assert found.counts.format == "csr"
    assert found.counts.dtype == np.int32
    assert found.counts.has_canonical_format
    np.testing.assert_array_equal(found.counts.toarray(), COUNTS)


def test_reads_gzip_prefix_and_genes_tsv(tmp_path):
    write(tmp_path)
    for name, old in (
        ("matrix.mtx", "matrix.mtx"),
        ("genes.tsv", "features.tsv"),
        ("barcodes.tsv", "barcodes.tsv"),
    ):
        (tmp_path / f"GSM1_{name}.gz").write_bytes(gzip.compress((tmp_path / old).read_bytes()))
    np.testing.assert_array_equal(mex.read(tmp_path, prefix="GSM1_").counts.toarray(), COUNTS)


def test_features_have_as_many_columns_as_given(tmp_path):
    features = mex.read(write(tmp_path, features="g1\ng2\ng3\n")).features
    assert features.schema == {"feature_id": pl.String, "name": pl.String, "feature_type": pl.String}
    assert features["name"].null_count() == 3
    wide = mex.read(
        write(tmp_path, features="g1\ta\tb\tchr1\t1\ng2\ta\tb\tchr1\t2\ng3\ta\tb\tchr1\t3\n")
    ).features
    assert wide.width == 3


@pytest.mark.parametrize(
    "matrix",
    [
        MATRIX.replace("\n", "\r\n"),
        MATRIX.replace("integer", "real").replace(" 5\n", " 5.0\n").replace(" 7\n", " 7e0\n"),
        BANNER + "3\t2\t4\n1\t1\t5\n 3  1 1 \n\n2 2\t7\n3 2 2147483647\n\n",
        BANNER + "3 2 5\n3 2 2147483647\n2 2 7\n1 2 0\n3 1 1\n1 1 5\n",
        BANNER.upper() + "3 2 4\n1 1 5\n3 1 +1\n2 2 7\n3 2 2147483647\n",
    ],
    ids=["windows line ends", "real", "any blanks", "any order and a zero", "upper case"],
)
def test_same_counts_however_written(tmp_path, matrix):
    (tmp_path / "matrix.mtx").write_bytes(matrix.encode())
    counts = mex.read_counts(tmp_path / "matrix.mtx")
    np.testing.assert_array_equal(counts.toarray(), COUNTS)
    assert counts.nnz == 4


def test_a_matrix_without_entries_is_all_zero(tmp_path):
    counts = mex.read(write(tmp_path, matrix=BANNER + "3 2 0\n")).counts
    assert counts.shape == (2, 3)
    assert counts.nnz == 0


def test_blocks_of_text_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr(mex, "_CHUNK_BYTES", 3)
    np.testing.assert_array_equal(mex.read(write(tmp_path)).counts.toarray(), COUNTS)


def test_gzip_needs_no_last_line_end(tmp_path):
    path = tmp_path / "matrix.mtx.gz"
    path.write_bytes(gzip.compress(MATRIX.removesuffix("\n").encode()))
    np.testing.assert_array_equal(mex.read_counts(path).toarray(), COUNTS)


def swap(old: str, new: str) -> str:
    assert MATRIX.count(old) == 1, old
    return MATRIX.replace(old, new)


@pytest.mark.parametrize(
    ("matrix", "rule"),
    [
        ("", "row 1: the first line starts with"),
        ("1 1 5\n", "row 1: the first line starts with"),
        (swap("coordinate", "array"), "row 1: counts are 'matrix coordinate"),
        (swap("general", "symmetric"), "row 1: .*symmetric"),
        (swap("integer", "pattern"), "row 1: .*pattern"),
        (BANNER, "row 2: the file ends before"),
        (swap("3 2 4\n", "3 2\n"), "row 3: the header holds features, barcodes and entries, not '3 2'"),
        (swap("3 2 4\n", "0 2 0\n"), "row 3: a matrix has features and barcodes"),
        (swap("3 2 4\n", "2 3 4\n"), "row 3: .*2 features x 3 barcodes.*list 3 features and 2 barcodes"),
        (swap("3 2 4\n", "3 2 7\n"), "row 3: 7 entries do not fit"),
        (swap("3 2 4\n", "3 2 5\n"), "the header declares 5 entries, but there are 4"),
        (swap("3 2 4\n", "3 2 3\n"), "the header declares 3 entries, but there are more"),
        (swap("2 2 7", "4 2 7"), "row 6: feature positions are within 1 and 3, not '4 2 7'"),
        (swap("2 2 7", "0 2 7"), "row 6: feature positions"),
        (swap("2 2 7", "2 3 7"), "row 6: barcode positions are within 1 and 2, not '2 3 7'"),
        (swap("2 2 7", "3 1 7"), "a position is given once, but feature 3 of barcode 1 is given twice"),
        (swap("2 2 7", "2 2 -7"), "row 6: a count is a whole number.*not -7"),
        (swap("2 2 7", "2 2 2147483648"), "row 6: a count is a whole number.*not 2147483648"),
        (swap("2 2 7", "2 2 99999999999999999999"), "row 6: a count is a whole number"),
        (swap("2 2 7", "2 2 7.5"), "row 6: an entry is a feature, a barcode and an integer, not '2 2 7.5'"),
        (swap("2 2 7", "2 2 7.5").replace("integer", "real"), "row 6: a count is a whole number.*not 7.5"),
        (swap("2 2 7", "2 2 nan").replace("integer", "real"), "row 6: an entry is .*'2 2 nan'"),
        (
            swap("2 2 7", "2 2 1e400").replace("integer", "real"),
            "row 6: a count is a whole number.*not 1e400",
        ),
        (swap("2 2 7", "2 2 x"), "row 6: an entry is .*'2 2 x'"),
        (swap("2 2 7", "2 2"), "row 6: an entry is .*'2 2'"),
        (swap("2 2 7", "2 2 7 7"), "row 6: an entry is .*'2 2 7 7'"),
        (MATRIX.removesuffix("\n"), "the last line is not ended: the file is truncated"),
    ],
)
def test_broken_matrices_are_refused_with_place_and_rule(tmp_path, matrix, rule):
    write(tmp_path, matrix=matrix)
    with pytest.raises(BadInputError, match=f"^file matrix.mtx(, |: ){rule}"):
        mex.read(tmp_path)


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        (
            {"barcodes": "AAC\nAAC\n"},
            "barcodes.tsv, row 2: a barcode is given once, but 'AAC' is also in line 1",
        ),
        ({"barcodes": "AAC\n\nAAG\n"}, "barcodes.tsv, row 2: every line has a barcode"),
        ({"barcodes": "AAC\t1\nAAG\t2\n"}, "barcodes.tsv, row 1: a line is one barcode"),
        ({"barcodes": "AAC\nAAG"}, "barcodes.tsv: .*truncated"),
        ({"barcodes": "\n"}, "barcodes.tsv: the file is empty"),
        ({"features": "g1\tA\ng2\ng3\tC\n"}, "features.tsv, row 2: every line has 2 cells"),
        ({"features": "g1\ng2\ng1\n"}, "features.tsv, row 3: a feature id is given once, but 'g1'"),
        ({"features": "g1\n"}, "matrix.mtx, row 3: .*list 1 features"),
    ],
)
def test_broken_names_are_refused_with_place_and_rule(tmp_path, files, rule):
    write(tmp_path, **files)
    with pytest.raises(BadInputError, match=f"^file {rule}"):
        mex.read(tmp_path)


def test_text_that_is_not_utf_8_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "features.tsv").write_bytes(b"g1\ng2\n\xb5\n")
    with pytest.raises(BadInputError, match=r"file features.tsv: the text is UTF-8, but byte 6 is not"):
        mex.read(tmp_path)


def test_a_file_of_the_triplet_missing_or_there_twice_is_refused(tmp_path):
    write(tmp_path)
    (tmp_path / "genes.tsv").write_text(FEATURES)
    with pytest.raises(BadInputError, match=r"features once, but the folder has features.tsv and genes.tsv"):
        mex.read(tmp_path)
    with pytest.raises(
        BadInputError, match=r"holds x_matrix.mtx.gz or x_matrix.mtx, but the folder has none"
    ):
        mex.read(tmp_path, prefix="x_")


@pytest.mark.parametrize(
    ("name", "is_gzip", "rule"),
    [
        ("matrix.mtx.gz", False, "a file named .gz is gzip, but this one is not"),
        ("matrix.mtx", True, "is gzip, but its name does not end in .gz"),
    ],
)
def test_name_and_content_must_agree_about_gzip(tmp_path, name, is_gzip, rule):
    path = tmp_path / name
    path.write_bytes(gzip.compress(MATRIX.encode()) if is_gzip else MATRIX.encode())
    with pytest.raises(BadInputError, match=f"^file {name}: .*{rule}"):
        mex.read_counts(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "tail"])
def test_damaged_gzip_is_refused(tmp_path, damage):
    raw = gzip.compress(MATRIX.encode())
    flipped = raw[:12] + bytes(255 - byte for byte in raw[12:30]) + raw[30:]
    path = tmp_path / "matrix.mtx.gz"
    path.write_bytes({"cut": raw[:-12], "flipped": flipped, "tail": raw + b"junk"}[damage])
    with pytest.raises(BadInputError, match=r"^file matrix.mtx.gz: the gzip stream is truncated or damaged"):
        mex.read_counts(path)


@st.composite
def count_matrices(draw):
    n_cells, n_features = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    count = st.integers(0, 2) | st.integers(0, 2**31 - 1)
    flat = draw(st.lists(count, min_size=n_cells * n_features, max_size=n_cells * n_features))
    return np.array(flat, np.int32).reshape(n_cells, n_features)


def render(counts: np.ndarray, order: list[int] | None = None) -> bytes:
    entries = [f"{f + 1} {c + 1} {counts[c, f]}" for c, f in np.argwhere(counts)]
    if order is not None:
        entries = [entries[i] for i in order]
    return (
        BANNER + "\n".join([f"{counts.shape[1]} {counts.shape[0]} {len(entries)}", *entries]) + "\n"
    ).encode()


def read_bytes(raw: bytes, name: str = "m.mtx") -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(raw)
        return mex.read_counts(path).toarray()


@given(count_matrices(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_counts_in_any_order_survive_a_round_trip(counts, data):
    order = data.draw(st.permutations(range(int(np.count_nonzero(counts)))))
    np.testing.assert_array_equal(read_bytes(render(counts, order)), counts)


@given(count_matrices(), st.floats(0, 1, exclude_max=True), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_truncated_file_gives_the_same_data_or_an_error(counts, share, is_gzip):
    raw = gzip.compress(render(counts)) if is_gzip else render(counts)
    try:
        found = read_bytes(raw[: int(share * len(raw))], "m.mtx.gz" if is_gzip else "m.mtx")
    except BadInputError:
        return
    np.testing.assert_array_equal(found, counts)


@pytest.mark.realdata
def test_reads_a_drug_seq_plate(realdata):
    found = mex.read(realdata / "raw/drugseq_kp6490")
    assert found.counts.shape == (95, 62_700)
    assert found.counts.nnz == 1_126_919
    assert found.features.row(0) == ("ENSG00000290825.1", "DDX11L2", "Gene Expression")
    assert found.barcodes[0] == "AAGATGTCCA"
    assert found.counts[0, 34] == 1
    assert found.counts[0, 36] == 15
    assert int(found.counts.sum()) == 31_670_644


@pytest.mark.realdata
def test_refuses_plain_text_named_gz(realdata):
    with pytest.raises(BadInputError, match=r"^file plain_text_named.mtx.gz: a file named .gz is gzip"):
        mex.read_counts(realdata / "traps/plain_text_named.mtx.gz")
