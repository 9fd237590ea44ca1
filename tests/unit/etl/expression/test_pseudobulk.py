import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anndata
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy import sparse

from etl.errors import BadInputError
from etl.expression import pseudobulk as module
from etl.expression.pseudobulk import CellBlock, hashes_of, pseudobulk, read_profiles, third_of
from etl.expression.quality_control import CellFilter
from etl.formats import h5ad

N_GENES = 13
KEY = ("plate", "well", "context_reported")
GENES = pl.DataFrame(
    {"gene_reported": [f"ENSG{i}" for i in range(N_GENES)], "symbol": ["MT-CO1", "MALAT1", *[None] * 11]}
)
FILTERS = (CellFilter("n_genes", "made for the test", at_least=2),)
SLOT = 8 * N_GENES


def study(n=120, seed=1):
    """Cells of 2 plates x 3 wells x 2 contexts, and their counts."""
    rng = np.random.default_rng(seed)
    cells = pl.DataFrame(
        {
            "cell_id": [f"cell {i} µ" for i in range(n)],
            "plate": [f"p{i * 2 // n}" for i in range(n)],
            "well": rng.choice(["A1", "A2", "B1"], n),
            "context_reported": rng.choice(["A549", "MCF7"], n),
        }
    )
    counts = rng.poisson(0.3, (n, N_GENES)) * rng.integers(1, 60, (n, N_GENES))
    return cells, counts


def blocks(cells, counts, size=7, order=None, dtype=np.float32):
    order = np.arange(cells.height) if order is None else order
    for start in range(0, cells.height, size):
        rows = order[start : start + size]
        yield CellBlock(cells[rows], sparse.csr_matrix(counts[rows].astype(dtype)))


def run(given_blocks, store, **arguments):
    defaults = {"key": KEY, "genes": GENES, "filters": FILTERS, "seed": 7}
    return pseudobulk(given_blocks, store=store, **(defaults | arguments))


def brute_force(cells, counts, seed=7):
    """Sums of a dense matrix, profile after profile."""
    third = third_of(hashes_of(cells["cell_id"], seed))
    keep = (counts > 0).sum(axis=1) >= 2
    expected = {}
    for cell in np.flatnonzero(keep):
        sums = expected.setdefault(cells.select(KEY).row(cell), np.zeros((N_GENES, 4), dtype=np.int64))
        sums[:, third[cell]] += counts[cell]
        sums[:, 3] += counts[cell] > 0
    return dict(sorted(expected.items()))


def assert_equal_to_brute_force(profiles, expected):
    assert profiles.samples.select(KEY).rows() == list(expected)
    rows = [
        (profile, gene, int(sums[gene, :3].sum()), int(sums[gene, 3]), *sums[gene, :3].tolist())
        for profile, sums in enumerate(expected.values())
        for gene in np.flatnonzero(sums.any(axis=1)).tolist()
    ]
    assert profiles.counts().collect().rows() == rows


def test_equals_sums_of_the_dense_matrix(tmp_path):
    cells, counts = study()
    profiles = run(blocks(cells, counts), tmp_path)
    expected = brute_force(cells, counts)
    assert_equal_to_brute_force(profiles, expected)
    samples = profiles.samples
    assert samples["sample_key"].to_list() == ["|".join(key) for key in expected]
    assert samples["n_counts"].to_list() == [int(sums[:, :3].sum()) for sums in expected.values()]
    assert samples["n_genes"].to_list() == [int(sums.any(axis=1).sum()) for sums in expected.values()]
    assert samples["n_cells"].sum() == int(((counts > 0).sum(axis=1) >= 2).sum()) == profiles.account.n_out
    for total in ("n_cells", "n_counts"):
        parts = sum(samples[f"{total}_third_{i}"] for i in (1, 2, 3))
        assert parts.to_list() == samples[total].to_list()


@given(
    st.integers(1, 130),
    st.integers(1, 20),
    st.integers(1, 60),
    st.randoms(use_true_random=False),
    st.sampled_from([np.float32, np.int64, np.uint16]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_order_block_size_memory_and_number_type_do_not_matter(
    tmp_path, size, n_slots, part_rows, random, dtype
):
    cells, counts = study()
    order = list(range(cells.height))
    random.shuffle(order)
    profiles = run(
        blocks(cells, counts, size, np.array(order), dtype),
        tmp_path / "any",
        slab_bytes=n_slots * SLOT,
        part_rows=part_rows,
    )
    assert_equal_to_brute_force(profiles, brute_force(cells, counts))


@pytest.mark.parametrize("n_slots", [1, 100])
def test_sums_beyond_16_bits_are_carried(tmp_path, n_slots):
    cells, counts = study(300)
    counts *= 40_001
    cells = cells.with_columns(well=pl.lit("A1"), context_reported=pl.lit("A549"))
    profiles = run(blocks(cells, counts, 50, dtype=np.int64), tmp_path, slab_bytes=n_slots * SLOT)
    assert profiles.counts().select(pl.col("third_1").max()).collect().item() > 2**20
    assert_equal_to_brute_force(profiles, brute_force(cells, counts))


def test_more_cells_than_16_bits_express_a_gene(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CARRIES", 30)
    n = 70_000
    cells = pl.DataFrame({"cell_id": [str(i) for i in range(n)], "plate": ["p"] * n})
    counts = sparse.csr_matrix(np.ones((n, N_GENES), np.float32))
    profiles = run([CellBlock(cells, counts)], tmp_path, key=["plate"])
    found = profiles.counts().collect()
    assert set(found["count"]) == set(found["n_expressing"]) == {n}
    assert found["third_1"].max() < 24_000


def test_thirds_are_a_third_each_and_depend_on_the_seed():
    ids = pl.Series([f"AAAC{i:07}-1" for i in range(30_000)])
    shares = np.bincount(third_of(hashes_of(ids, 1))) / len(ids)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.01)
    same = (third_of(hashes_of(ids, 1)) == third_of(hashes_of(ids, 2))).mean()
    assert abs(same - 1 / 3) < 0.02
    sliced = hashes_of(ids[100:200], 1)
    assert sliced.tolist() == hashes_of(ids, 1)[100:200].tolist()


def test_the_hash_is_the_one_that_is_documented():
    def hashed(text, seed):
        mask, state = 2**64 - 1, 0xCBF29CE484222325
        for byte in seed.to_bytes(8, "little") + text.encode():
            state = ((state ^ byte) * 0x100000001B3) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        return state ^ (state >> 31)

    ids = ["", "a", "µ-1", "AAACCTGAGAAACCAT-1"]
    assert hashes_of(pl.Series(ids), 300).tolist() == [hashed(text, 300) for text in ids]


def test_dropped_cells_are_accounted_for(tmp_path):
    cells, counts = study()
    cells = cells.with_columns(well=pl.when(pl.int_range(120) < 10).then(None).otherwise("well"))
    profiles = run(blocks(cells, counts), tmp_path)
    few = (counts > 0).sum(axis=1) < 2
    assert profiles.account.dropped == {"no well": 10, "n_genes below 2": int(few[10:].sum())}
    assert profiles.manifest["account"]["each"] == {"no well": 10, "n_genes below 2": int(few.sum())}
    assert profiles.account.n_in == 120


def test_blocks_have_the_shape_of_expression_blocks(tmp_path):
    cells, counts = study()
    profiles = run(blocks(cells, counts), tmp_path, part_rows=40)
    expected = brute_force(cells, counts)
    found = list(profiles.blocks(block_entries=30))
    assert len(found) > 3
    assert [key for block in found for key in block.sample_keys] == profiles.samples["sample_key"].to_list()
    values = sparse.vstack([block.values for block in found])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values.toarray(), [sums[:, :3].sum(axis=1) for sums in expected.values()])
    (third,) = profiles.blocks("third_2")
    np.testing.assert_array_equal(third.values.toarray(), [sums[:, 1] for sums in expected.values()])


def test_counts_that_float32_would_round_are_refused(tmp_path):
    cells, counts = study()
    counts[counts > 0] = 2**23 + 1
    profiles = run(blocks(cells, counts, dtype=np.int64), tmp_path)
    with pytest.raises(BadInputError, match=r"column count: counts up to 16,777,216 are exact, but one is"):
        list(profiles.blocks())


def test_a_store_of_the_same_input_stands_and_no_cell_is_read(tmp_path):
    cells, counts = study()
    first = run(blocks(cells, counts), tmp_path, inputs={"plate1.h5ad": "abc"})
    again = run(iter(()), tmp_path, inputs={"plate1.h5ad": "abc"})
    assert again.folder == first.folder
    other = run(blocks(cells, counts), tmp_path, inputs={"plate1.h5ad": "abd"})
    assert other.folder != first.folder
    assert not first.folder.exists()
    assert run(blocks(cells, counts), tmp_path, inputs={"plate1.h5ad": "abd"}, seed=8).manifest["seed"] == 8
    stated = json.loads((tmp_path / "manifest.json").read_text())
    assert stated["inputs"] == {"plate1.h5ad": "abd"}
    assert stated["filters"][0]["at_least"] == 2


def test_no_cells_and_no_cells_kept_give_no_profiles(tmp_path):
    cells, counts = study()
    for number, given_blocks in enumerate([[], list(blocks(cells, 0 * counts))]):
        profiles = run(given_blocks, tmp_path / str(number))
        assert profiles.samples.height == 0
        assert profiles.counts().collect().height == 0
        assert list(profiles.blocks()) == []


def _value(value):
    def change(cells, counts):
        counts = counts.astype(np.float64)
        counts[20, 5] = value
        return cells, counts

    return change


def _cells(**columns):
    return lambda cells, counts: (cells.with_columns(**columns), counts)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_value(-2), "row cell 20 µ, column ENSG5: counts are whole numbers.*one is -2"),
        (_value(0.25), "row cell 20 µ, column ENSG5: counts are whole numbers.*one is 0.25"),
        (_value(float("nan")), "row cell 20 µ, column ENSG5: counts are whole numbers.*one is nan"),
        (_cells(cell_id=pl.lit(None, pl.String)), "column cell_id: every cell has an id"),
        (_cells(cell_id=pl.int_range(120) // 2), "column cell_id: cells have ids of their own, but 60 cells"),
        (lambda cells, counts: (cells.drop("well"), counts), "column well: cells have the columns"),
        (
            lambda cells, counts: (cells, counts[:, 1:]),
            r"counts have shape \(7, 12\), not 7 cells x 13 genes",
        ),
        (
            _cells(
                plate=pl.when(pl.int_range(120) < 60).then(pl.lit("a|b")).otherwise(pl.lit("a")),
                well=pl.when(pl.int_range(120) < 60).then(pl.lit("c")).otherwise(pl.lit("b|c")),
            ),
            "name one profile, but 'a|b|c|A549' names several",
        ),
    ],
)
def test_bad_input_is_refused_and_publishes_nothing(tmp_path, change, rule):
    cells, counts = study()
    before = run(blocks(cells, counts), tmp_path / "kept")
    bad = list(blocks(*change(cells, counts), dtype=np.float64))
    for store in (tmp_path / "kept", tmp_path / "new"):
        with pytest.raises(BadInputError, match=rule.replace("|", r"\|")):
            run(bad, store)
    assert_frame_equal(read_profiles(tmp_path / "kept").samples, before.samples)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [".lock"]
    with pytest.raises(BadInputError, match="no finished profiles are here"):
        read_profiles(tmp_path / "new")


def test_the_error_names_the_file_of_the_block(tmp_path):
    cells, counts = study(7)
    block = CellBlock(cells, sparse.csr_matrix(-1.0 * counts), Path("plate3.h5ad"))
    with pytest.raises(BadInputError, match=r"^file plate3.h5ad, row cell \d µ, column ENSG"):
        run([block], tmp_path)


def test_a_killed_run_leaves_nothing_and_the_next_one_sweeps_up(tmp_path):
    script = """
        import sys, time
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from tests.unit.etl.expression.test_pseudobulk import blocks, run, study
        def stalled():
            yield from blocks(*study())
            print("read", flush=True)
            time.sleep(60)
        run(stalled(), Path(sys.argv[1]), slab_bytes=200)
    """
    root = Path(module.__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout.readline() == "read\n"
        os.kill(process.pid, signal.SIGKILL)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
    with pytest.raises(BadInputError, match="no finished profiles"):
        read_profiles(tmp_path)
    profiles = run(blocks(*study()), tmp_path)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [profiles.folder]
    assert {path.suffix for path in profiles.folder.iterdir()} == {".parquet"}


def test_a_store_with_a_damaged_part_is_refused(tmp_path):
    profiles = run(blocks(*study()), tmp_path)
    (part,) = profiles.folder.glob("counts-*")
    part.write_bytes(part.read_bytes()[:-5])
    with pytest.raises(BadInputError, match=r"counts-00000\.parquet is not as it was written"):
        read_profiles(tmp_path)


def test_ids_are_compared_in_ranges(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_IDS_AT_ONCE", 16)
    cells, counts = study()
    assert run(blocks(cells, counts), tmp_path).samples.height > 0
    with pytest.raises(BadInputError, match="but 1 cells have one that came before"):
        run(blocks(pl.concat([cells, cells[:1]]), np.vstack([counts, counts[:1]])), tmp_path)


def write_h5ad(path, cells, counts):
    """What AnnData writes."""
    obs = cells.drop("cell_id").with_columns(pl.col("plate", "well").cast(pl.Categorical)).to_pandas()
    obs.index = cells["cell_id"].to_list()
    adata = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)
    adata.write_h5ad(path, compression="gzip")
    return path


def from_h5ad(paths, block_bytes=400):
    for path in paths:
        for obs, counts in h5ad.observed_blocks(path, block_bytes=block_bytes):
            yield CellBlock(obs.rename({h5ad.INDEX: "cell_id"}), counts, path)


def test_files_in_any_order_give_the_same_profiles(tmp_path):
    cells, counts = study()
    paths = [
        write_h5ad(tmp_path / f"{start}.h5ad", cells[start : start + 40], counts[start : start + 40])
        for start in (0, 40, 80)
    ]
    expected = brute_force(cells, counts)
    for number, order in enumerate([paths, paths[::-1]]):
        assert_equal_to_brute_force(run(from_h5ad(order), tmp_path / str(number)), expected)


def test_a_truncated_file_in_the_middle_publishes_nothing(tmp_path):
    cells, counts = study()
    whole = write_h5ad(tmp_path / "plate1.h5ad", cells[:60], counts[:60])
    cut = write_h5ad(tmp_path / "plate2.h5ad", cells[60:], counts[60:])
    cut.write_bytes(cut.read_bytes()[:-3000])
    with pytest.raises(BadInputError, match=r"^file plate2.h5ad: .*complete HDF5 file.*truncated"):
        run(from_h5ad([whole, cut]), tmp_path / "store")
    assert [path.name for path in (tmp_path / "store").iterdir()] == [".lock"]


def test_a_file_given_twice_is_refused(tmp_path):
    path = write_h5ad(tmp_path / "plate1.h5ad", *study(30))
    with pytest.raises(BadInputError, match="but 30 cells have one that came before"):
        run(from_h5ad([path, path]), tmp_path / "store")
