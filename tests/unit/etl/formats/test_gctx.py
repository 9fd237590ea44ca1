import tempfile
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import BadInputError
from etl.formats import gctx

MATRIX = "/0/DATA/0/matrix"


def write(
    path: Path, values: np.ndarray, *, drop: str | None = None, replace: dict | None = None, **storage
) -> Path:
    """A GCTX of samples x genes; ``replace`` sets datasets by name, ``drop`` removes one."""
    n_columns, n_rows = values.shape
    datasets = {
        "/0/META/COL/id": np.array([f"s{i}" for i in range(n_columns)], "S8"),
        "/0/META/ROW/id": np.array([f"g{i}" for i in range(n_rows)], "S8"),
    } | (replace or {})
    with h5py.File(path, "w") as file:
        file.create_dataset(MATRIX, data=values, **storage)
        for name, data in datasets.items():
            if name in file:
                del file[name]
            dtype = h5py.string_dtype() if isinstance(data, list) else None
            file.create_dataset(name, data=data, dtype=dtype)
        if drop:
            del file[drop]
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.gctx"


@pytest.fixture
def values():
    return np.arange(70, dtype=np.float32).reshape(10, 7) / 3


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<i4"])
@pytest.mark.parametrize("storage", [{}, {"chunks": (4, 3)}, {"chunks": (4, 3), "compression": "gzip"}])
def test_reads_every_number_type_and_storage(path, dtype, storage):
    stored = np.arange(70).reshape(10, 7).astype(dtype)
    matrix = gctx.read(write(path, stored, **storage))
    np.testing.assert_array_equal(matrix.values, stored.astype(np.float32))
    assert matrix.values.dtype == np.float32
    assert matrix.column_ids == [f"s{i}" for i in range(10)]
    assert matrix.row_ids == [f"g{i}" for i in range(7)]


def test_nan_and_infinity_are_passed_on(path):
    stored = np.array([[np.nan, np.inf], [1, -np.inf]])
    np.testing.assert_array_equal(gctx.read(write(path, stored)).values, stored.astype(np.float32))


def test_texts_fixed_or_variable_utf_8_or_latin_1(path, values):
    texts = ["µM", "-666", "na", "", "a", "b", "c", "d", "e", "f"]
    extra = {
        "/0/META/COL/latin": np.array([text.encode("latin-1") for text in texts], "S4"),
        "/0/META/COL/utf8": np.array([text.encode() for text in texts], "S4"),
        "/0/META/COL/variable": texts,
    }
    annotation = gctx.read_annotation(write(path, values, replace=extra))
    assert annotation.column_metadata.columns == ["id", "latin", "utf8", "variable"]
    assert set(annotation.column_metadata.dtypes) == {pl.String}
    for name in ("latin", "utf8", "variable"):
        assert annotation.column_metadata[name].to_list() == texts


def test_variable_length_latin_1_bytes(path, values):
    write(path, values)
    with h5py.File(path, "a") as file:
        units = file.create_dataset("/0/META/ROW/unit", (7,), h5py.string_dtype("ascii"))
        units[:] = np.array([b"10 \xb5M"] * 7, dtype=object)
    assert gctx.read_annotation(path).row_metadata["unit"].to_list() == ["10 µM"] * 7


def test_numeric_metadata_becomes_the_shortest_text(path, values):
    extra = {
        "/0/META/ROW/float": np.array([1, 0.18, np.nan, -666, 5.5256066, 1e20, np.inf], np.float32),
        "/0/META/ROW/integer": np.arange(7),
        "/0/META/ROW/flag": np.array([True] * 3 + [False] * 4),
    }
    metadata = gctx.read_annotation(write(path, values, replace=extra)).row_metadata
    assert metadata["float"].to_list() == ["1", "0.18", "NaN", "-666", "5.5256066", "1e+20", "inf"]
    assert metadata["integer"].to_list() == list("0123456")
    assert metadata["flag"].to_list() == ["true"] * 3 + ["false"] * 4


def test_blocks_end_at_chunk_borders_and_stay_within_memory(path, values):
    write(path, values, chunks=(2, 3), compression="gzip")
    blocks = list(gctx.blocks(path, block_bytes=5 * 7 * 16))
    assert [block.columns.tolist() for block in blocks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), values)


def test_memory_wins_over_chunk_borders(path, values):
    write(path, values, chunks=(10, 7))
    blocks = list(gctx.blocks(path, block_bytes=3 * 7 * 16))
    assert [len(block.columns) for block in blocks] == [3, 3, 3, 1]
    assert [len(block.columns) for block in gctx.blocks(path, block_bytes=1)] == [1] * 10
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), values)


def test_selection_keeps_row_order_and_file_order_of_columns(path, values):
    write(path, values, chunks=(2, 2))
    (block,) = gctx.blocks(path, columns=[9, 0, 5], rows=[6, 1, 1])
    assert block.columns.tolist() == [0, 5, 9]
    np.testing.assert_array_equal(block.values, values[np.ix_([0, 5, 9], [6, 1, 1])])


def test_chunks_without_a_selected_sample_or_gene_are_not_read(path, values, monkeypatch):
    write(path, values, chunks=(2, 2))
    read, read_strip = [], gctx._read_strip
    monkeypatch.setattr(gctx, "_read_strip", lambda *args: read.append(args[1:3]) or read_strip(*args))
    (block,) = gctx.blocks(path, columns=[0, 1, 8], rows=[0, 6])
    assert read == [((0, 2), (0, 1)), ((0, 2), (6, 7)), ((8, 9), (0, 1)), ((8, 9), (6, 7))]
    np.testing.assert_array_equal(block.values, values[np.ix_([0, 1, 8], [0, 6])])


def test_an_empty_selection_gives_no_blocks_or_no_genes(path, values):
    write(path, values)
    assert list(gctx.blocks(path, columns=[])) == []
    (block,) = gctx.blocks(path, rows=[])
    assert block.values.shape == (10, 0)


@pytest.mark.parametrize(
    "selection", [{"columns": [10]}, {"rows": [-1]}, {"columns": [1, 1]}, {"rows": [0.5]}]
)
def test_a_wrong_selection_is_the_callers_fault(path, values, selection):
    write(path, values)
    with pytest.raises(IndexError):
        list(gctx.blocks(path, **selection))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"drop": MATRIX}, "holds /0/DATA/0/matrix, but this one does not"),
        ({"drop": "/0/META/COL"}, "holds /0/META/COL/id, but this one does not"),
        ({"drop": "/0/META/ROW/id"}, "holds /0/META/ROW/id, but this one does not"),
        ({"drop": "/0/DATA"}, "holds /0/DATA/0/matrix"),
        (
            {"replace": {"/0/META/ROW/id": np.array([b"g"] * 6)}},
            r"shape \(columns, rows\), \(10, 6\).*is \(10, 7\)",
        ),
        ({"replace": {"/0/META/COL/id": np.array([b"s"] * 10)}}, "column ids are unique, but 's'"),
        ({"replace": {"/0/META/ROW/id": np.array([b"g", b"h"] + [b""] * 5)}}, "every row has an id"),
        ({"replace": {"/0/META/ROW/id": np.array([[b"g"]] * 7)}}, "column id: .*one-dimensional"),
        (
            {"replace": {"/0/META/ROW/x": np.arange(6)}},
            "column x: row metadata has a value for each of 7 rows, but 6",
        ),
        ({"replace": {"/0/META/COL/x/y": np.arange(10)}}, "/0/META/COL/x is a dataset in GCTX, but a group"),
        ({"replace": {"/0/META/ROW/x": np.ones(7, "c8")}}, "column x: ids and metadata are texts or numbers"),
        ({"replace": {MATRIX: np.full((10, 7), b"1")}}, "holds floating-point numbers or integers"),
        (
            {"replace": {"/0/META/ROW/id": np.empty(0, "S1"), MATRIX: np.empty((10, 0))}},
            "a matrix has rows and col",
        ),
    ],
)
def test_broken_files_are_refused_with_the_rule(path, values, change, rule):
    write(path, values, **change)
    with pytest.raises(BadInputError, match=f"^file m.gctx.*{rule}"):
        gctx.read_annotation(path)


def test_a_transposed_matrix_is_refused_by_blocks_too(path, values):
    write(path, values, replace={MATRIX: values.T})
    with pytest.raises(
        BadInputError, match=r"file m.gctx: .*\(columns, rows\), \(10, 7\).*but it is \(7, 10\)"
    ):
        next(gctx.blocks(path))


@pytest.mark.parametrize(
    ("stored", "shown"), [(np.array([[1.0, 1e39]]), "1e"), (np.array([[0, 2**24 + 1]]), "16777217")]
)
def test_values_beyond_float32_are_refused(path, stored, shown):
    write(path, stored)
    with pytest.raises(BadInputError, match=rf"file m.gctx, row 1, column 0: {shown}.*does not fit"):
        gctx.read(path)


def test_damaged_values_are_refused(path):
    values = np.random.default_rng(0).random((50, 40)).astype(np.float32)
    write(path, values, chunks=(50, 40), compression="gzip")
    with h5py.File(path) as file:
        chunk = file[MATRIX].id.get_chunk_info(0)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + 200] = bytes(200)
    path.write_bytes(raw)
    assert gctx.read_annotation(path).row_ids[0] == "g0"
    with pytest.raises(BadInputError, match=r"file m.gctx: values of columns 0 to 49 cannot be read"):
        gctx.read(path)


def test_what_is_not_hdf5_is_refused(path):
    path.write_text("#1.3\n")
    with pytest.raises(BadInputError, match=r"file m.gctx: .*complete HDF5 file.*signature not found"):
        gctx.read(path)


def test_a_missing_file_is_not_a_format_error(path):
    with pytest.raises(FileNotFoundError):
        gctx.read(path)


shapes = st.tuples(st.integers(1, 8), st.integers(1, 8))


@given(shapes, st.data())
@settings(max_examples=60, deadline=None)
def test_any_selection_in_any_blocks_equals_the_array(shape, data):
    values = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    chunks = data.draw(st.none() | st.tuples(st.integers(1, shape[0]), st.integers(1, shape[1])))
    columns = data.draw(st.lists(st.integers(0, shape[0] - 1), unique=True, min_size=1))
    rows = data.draw(st.lists(st.integers(0, shape[1] - 1), min_size=1, max_size=8))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "m.gctx", values, chunks=chunks)
        size = data.draw(st.integers(1, 2000))
        blocks = list(gctx.blocks(path, columns=columns, rows=rows, block_bytes=size))
    positions = np.concatenate([block.columns for block in blocks])
    assert positions.tolist() == sorted(columns)
    np.testing.assert_array_equal(
        np.concatenate([block.values for block in blocks]), values[np.ix_(sorted(columns), rows)]
    )


@given(st.floats(0, 1, exclude_max=True))
@settings(max_examples=40, deadline=None)
def test_a_truncated_file_gives_the_same_data_or_an_error(share):
    values = np.arange(30, dtype=np.float32).reshape(5, 6)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "m.gctx", values, chunks=(2, 3), compression="gzip")
        raw = path.read_bytes()
        path.write_bytes(raw[: int(share * len(raw))])
        try:
            matrix = gctx.read(path)
        except BadInputError:
            return
    np.testing.assert_array_equal(matrix.values, values)


@pytest.mark.realdata
def test_reads_l1000_phase_1(realdata):
    matrix = gctx.read(realdata / "raw/l1000_phase1/GSE92742_subset_Level3_INF_mlr12k_n581x978.gctx")
    assert matrix.values.shape == (581, 978)
    assert np.isfinite(matrix.values).all()
    assert matrix.column_ids[0] == "CPC020_A375_6H_X1_B4_DUO52HI53LO:P17"
    assert matrix.row_ids[:2] == ["5720", "466"]
    assert matrix.values[0, 0] == np.float32(9.46615)


@pytest.mark.realdata
def test_reads_latin_1_micro_signs_of_level_5(realdata):
    annotation = gctx.read_annotation(realdata / "raw/l1000_level5/modzs_n272x978.gctx")
    assert len(annotation.column_ids) == 272
    assert annotation.column_metadata["pert_idose"][0] == "10 µM"
    assert annotation.column_metadata["distil_cc_q75"][0] == "0.18"
    assert annotation.row_metadata["is_lm"].unique().to_list() == ["1"]


@pytest.mark.realdata
def test_reads_level_4_in_blocks(realdata):
    path = realdata / "raw/l1000_kj100/CORE_A_level4_ZSPCINF_n40x12328.gctx"
    annotation = gctx.read_annotation(path)
    assert len(annotation.row_ids) == 12_328
    assert annotation.column_metadata.width == 43
    whole = gctx.read(path).values
    rows = np.arange(12_327, 0, -13)
    blocks = list(gctx.blocks(path, rows=rows, block_bytes=500_000))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), whole[:, rows])
