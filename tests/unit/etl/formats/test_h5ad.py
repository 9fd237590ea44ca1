import anndata
import h5py
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import sparse

from etl.errors import BadInputError
from etl.formats import h5ad


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.h5ad"


@pytest.fixture
def counts():
    return sparse.random(23, 11, density=0.4, format="csr", rng=np.random.default_rng(1)).astype(np.float32)


def write(path, counts, obs=None, var=None, *, compression="gzip", layers=None):
    """What AnnData writes."""
    n, g = counts.shape
    obs = (pl.DataFrame({"n": range(n)}) if obs is None else obs).to_pandas()
    var = (pl.DataFrame({"symbol": [f"G{i}" for i in range(g)]}) if var is None else var).to_pandas()
    obs.index = [f"cell{i}" for i in range(n)]
    var.index = [f"ENSG{i}" for i in range(g)]
    anndata.AnnData(counts, obs=obs, var=var, layers=layers).write_h5ad(path, compression=compression)
    return path


def rechunk(path, chunk, **storage):
    """Write the three arrays of X anew with chunks of another size or other filters."""
    with h5py.File(path, "a") as file:
        for name in ("data", "indices"):
            values = file[f"X/{name}"][:]
            del file[f"X/{name}"]
            file.create_dataset(f"X/{name}", data=values, chunks=(chunk,), maxshape=(None,), **storage)


def read(path, **arguments):
    blocks = list(h5ad.row_blocks(path, **arguments))
    assert [block.start for block in blocks] == np.cumsum([0, *(b.values.shape[0] for b in blocks)])[
        :-1
    ].tolist()
    return sparse.vstack([block.values for block in blocks]).toarray()


def test_reads_every_kind_of_column(path, counts):
    counts = counts[:3]
    obs = pl.DataFrame(
        {
            "text": ["a", "µM", ""],
            "number": [1.5, float("nan"), 3],
            "integer": [1, 2, 3],
            "flag": [True, False, True],
            "category": pl.Series(["x", None, "y"], dtype=pl.Categorical),
        }
    )
    write(path, counts, obs)
    assert_frame_equal(
        h5ad.read_obs(path),
        obs.with_columns(pl.col("category").cast(pl.String)).insert_column(
            0, pl.Series("_index", ["cell0", "cell1", "cell2"])
        ),
    )
    assert h5ad.column_names(path) == obs.columns
    assert h5ad.read_obs(path, ["flag"], rows=slice(1, 3)).rows() == [("cell1", False), ("cell2", True)]
    assert h5ad.read_var(path).rows()[10] == ("ENSG10", "G10")


def test_masked_values_are_null(path, counts):
    write(path, counts[:3])
    with h5py.File(path, "a") as file:
        for kind, values in (("integer", [1, 2, 3]), ("boolean", [True, False, True])):
            group = file.create_group(f"obs/{kind}")
            group.attrs["encoding-type"] = f"nullable-{kind}"
            group["values"], group["mask"] = np.array(values), np.array([False, True, False])
    read = h5ad.read_obs(path, ["integer", "boolean"])
    assert read.rows() == [("cell0", 1, True), ("cell1", None, None), ("cell2", 3, True)]


def test_categories_of_anndata_0_7_are_read(path, counts):
    write(path, counts[:3])
    with h5py.File(path, "a") as file:
        file["obs/__categories/line"] = ["A549", "MCF7"]
        codes = file["obs"].create_dataset("line", data=np.array([1, -1, 0], np.int8))
        codes.attrs["categories"] = file["obs/__categories/line"].ref
        file["obs"].attrs["column-order"] = ["line"]
    assert h5ad.read_obs(path).rows() == [("cell0", "MCF7"), ("cell1", None), ("cell2", "A549")]


@pytest.mark.parametrize("compression", ["gzip", "lzf", None])
@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16])
def test_reads_what_anndata_writes(path, counts, form, compression, dtype):
    counts.data = np.arange(1, counts.nnz + 1).astype(dtype)
    write(path, form(counts), compression=compression, layers={"raw": form(2 * counts)})
    (block, *_) = h5ad.row_blocks(path)
    assert block.values.dtype == dtype
    assert block.values.has_sorted_indices
    np.testing.assert_array_equal(read(path), counts.toarray())
    np.testing.assert_array_equal(read(path, matrix="layers/raw", block_bytes=100), 2 * counts.toarray())
    assert h5ad.matrix_shape(path) == (23, 11)


@pytest.mark.parametrize("storage", [{"compression": "gzip", "shuffle": True}, {"compression": "gzip"}, {}])
@pytest.mark.parametrize("byte_order", ["<f4", ">f4"])
def test_reads_shuffled_and_swapped_bytes(path, counts, storage, byte_order):
    write(path, counts)
    with h5py.File(path, "a") as file:
        del file["X/data"]
        file.create_dataset("X/data", data=counts.data.astype(byte_order), chunks=(7,), **storage)
    np.testing.assert_array_equal(read(path, block_bytes=200), counts.toarray())


@given(st.integers(1, 40), st.integers(1, 400), st.integers(1, 3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_of_any_size_hold_every_row_once(tmp_path, chunk, block_bytes, n_threads):
    path = tmp_path / "any.h5ad"
    counts = sparse.random(17, 5, density=0.3, format="csr", rng=np.random.default_rng(chunk))
    counts.data[:] = np.arange(counts.nnz)
    write(path, counts)
    rechunk(path, chunk, compression="gzip")
    np.testing.assert_array_equal(read(path, block_bytes=block_bytes, n_threads=n_threads), counts.toarray())


def test_a_chunk_is_inflated_once(path, counts, monkeypatch):
    write(path, counts)
    rechunk(path, 10, compression="gzip")
    inflated, inflate = [], h5ad._Vector._inflate
    monkeypatch.setattr(
        h5ad._Vector,
        "_inflate",
        lambda self, chunk: inflated.append((self._array.name, chunk)) or inflate(self, chunk),
    )
    read(path, block_bytes=64)
    assert len(inflated) == len(set(inflated)) == 2 * -(-counts.nnz // 10)


def test_rows_come_with_their_observations(path, counts):
    write(path, counts)
    blocks = list(h5ad.observed_blocks(path, ["n"], block_bytes=160))
    assert len(blocks) > 3
    assert pl.concat([cells for cells, _ in blocks])["n"].to_list() == list(range(23))
    assert all(cells.height == rows.shape[0] for cells, rows in blocks)


def test_rows_without_entries_and_no_rows(path):
    write(path, sparse.csr_matrix((4, 3), dtype=np.float32))
    assert read(path).tolist() == np.zeros((4, 3)).tolist()


def _set(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


def _attribute(name, key, value):
    return lambda file: file[name].attrs.__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda file: file.__delitem__("X"), "holds /X, but this one does not"),
        (lambda file: file.__delitem__("X/indptr"), "holds /X/indptr, but this one does not"),
        (lambda file: file.__delitem__("obs"), "holds /obs, but this one does not"),
        (_set("X", np.zeros((23, 11))), "/X is a dense array; a sparse matrix"),
        (_attribute("X", "encoding-type", "coo_matrix"), "/X has the encoding 'coo_matrix'"),
        (_attribute("X", "shape", [11, 23]), r"shape \(23, 11\) by /obs and /var, but it is \(11, 23\)"),
        (_set("X/indptr", np.arange(24)), "/X/indptr rises from 0"),
        (_set("X/indices", np.zeros(3, np.int32)), "/X/indptr rises from 0"),
        (_set("X/data", np.array([b"1"])), "holds numbers at whole positions"),
        (_set("var", np.zeros(11, "i4,f4")), "one compound dataset, as before AnnData 0.7"),
    ],
)
def test_broken_matrices_are_refused_with_the_rule(path, counts, change, rule):
    write(path, counts)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(BadInputError, match=f"^file m.h5ad.*{rule}"):
        list(h5ad.row_blocks(path))


@pytest.mark.parametrize("position", [-1, 11])
def test_a_position_outside_the_axis_is_refused(path, counts, position):
    counts.indices[4] = position
    write(path, sparse.csr_matrix((23, 11), dtype=np.float32))
    with h5py.File(path, "a") as file:
        for name in ("data", "indices", "indptr"):
            _set(f"X/{name}", getattr(counts, name))(file)
    with pytest.raises(BadInputError, match=f"/X has positions from 0 to 10, but one is {position}"):
        list(h5ad.row_blocks(path))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda file: file.__delitem__("obs/_index"), "holds /obs/_index"),
        (_set("obs/n", np.arange(3)), "column n: /obs has 23 rows, but this column has 3"),
        (_set("obs/n", np.zeros((23, 2))), "column n: a column has one value in a row"),
        (_set("obs/n", np.zeros(23, "c8")), "column n: a column holds texts, numbers or booleans"),
        (_attribute("obs", "column-order", ["n", "z"]), "column z: /obs has the columns n, z"),
    ],
)
def test_broken_tables_are_refused_with_the_rule(path, counts, change, rule):
    write(path, counts)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(BadInputError, match=f"^file m.h5ad.*{rule}"):
        h5ad.read_obs(path)


def test_a_code_without_category_and_an_unknown_encoding_are_refused(path, counts):
    write(path, counts[:2], pl.DataFrame({"line": pl.Series(["a", "b"], dtype=pl.Categorical)}))
    with h5py.File(path, "a") as file:
        file["obs/line/codes"][1] = 7
    with pytest.raises(BadInputError, match="column line: codes point into 2 categories"):
        h5ad.read_obs(path)
    with h5py.File(path, "a") as file:
        group = file.create_group("obs/odd")
        group["values"] = np.arange(2)
        group.attrs["encoding-type"] = "awkward-array"
    with pytest.raises(BadInputError, match="column odd: the encoding awkward-array is not known"):
        h5ad.read_obs(path, ["odd"])


def test_a_damaged_chunk_is_refused(path, counts):
    write(path, counts)
    rechunk(path, 20, compression="gzip")
    with h5py.File(path) as file:
        chunk = file["X/data"].id.get_chunk_info(1)
    raw = bytearray(path.read_bytes())
    raw[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(raw)
    with pytest.raises(BadInputError, match=r"file m.h5ad: /X/data cannot be read at 20"):
        read(path)


def test_a_truncated_file_is_refused(path, counts):
    write(path, counts)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(BadInputError, match=r"^file m.h5ad: .*complete HDF5 file.*truncated"):
        h5ad.read_obs(path)


def test_what_is_not_hdf5_is_refused_and_a_missing_file_is_no_format_error(path):
    with pytest.raises(FileNotFoundError):
        h5ad.read_obs(path)
    path.write_text("cell,gene\n")
    with pytest.raises(BadInputError, match=r"file m.h5ad: .*complete HDF5 file"):
        h5ad.read_obs(path)
