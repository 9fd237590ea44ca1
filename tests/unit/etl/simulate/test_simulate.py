import json
from pathlib import Path

import polars as pl
import pytest

from etl.errors import BadInputError
from etl.simulate import DEFAULT_SEED, DEMO, simulate_studies

FEW = ("l1000_ljp005", "gcsi")


def contents(raw: Path) -> dict[str, bytes]:
    return {str(path.relative_to(raw)): path.read_bytes() for path in raw.rglob("*") if path.is_file()}


def test_same_seed_gives_the_same_bytes(simulated: Path, tmp_path: Path) -> None:
    simulate_studies(tmp_path)
    again, first = contents(tmp_path), contents(simulated)
    assert again.keys() == first.keys()
    assert [name for name in first if again[name] != first[name]] == []


def test_another_seed_gives_other_values_of_the_same_design(simulated: Path, tmp_path: Path) -> None:
    simulate_studies(tmp_path, seed=7)
    other, first = contents(tmp_path), contents(simulated)
    assert other.keys() == first.keys()
    unchanged = {name for name in first if other[name] == first[name]}
    # What says which compounds there are.
    assert unchanged == {
        "reference/lincs_pertinfo.tsv.gz",
        "sciplex3/GSM4150378_sciPlex3_A549_MCF7_K562_hashTable_metadata.txt.gz",
        "vcpi_0001/chemistry.parquet",
    }


def test_every_dataset_is_marked_and_carries_its_truth(simulated: Path) -> None:
    for dataset_id in DEMO:
        marker = json.loads((simulated / dataset_id / "SIMULATED.json").read_text())
        assert marker == {"seed": DEFAULT_SEED, "simulated_by": "perturbhouse demo"}
        assert len(list((simulated / dataset_id / "truth").glob("*.parquet"))) == 1
    assert (simulated / "reference" / "SIMULATED.json").is_file()


def test_folders_are_returned_by_dataset(tmp_path: Path) -> None:
    folders = simulate_studies(tmp_path, datasets=FEW)
    assert folders == {dataset_id: tmp_path / dataset_id for dataset_id in FEW}
    assert all(folder.is_dir() for folder in folders.values())


def test_simulating_twice_into_one_folder_is_allowed(tmp_path: Path) -> None:
    simulate_studies(tmp_path, seed=7, datasets=FEW)
    before = contents(tmp_path)
    simulate_studies(tmp_path, seed=7, datasets=FEW)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("folder", ["gcsi", "reference"])
def test_published_files_are_not_written_over(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "published.tsv").write_text("real\n")
    with pytest.raises(BadInputError, match=r"not simulated"):
        simulate_studies(tmp_path)
    assert contents(tmp_path) == {str(Path(folder) / "published.tsv"): b"real\n"}


def test_volume_is_small(simulated: Path) -> None:
    assert sum(path.stat().st_size for path in simulated.rglob("*") if path.is_file()) < 20_000_000


def test_truth_of_a_condition_is_shared_by_the_datasets(simulated: Path) -> None:
    def truth(dataset_id: str, dose_um: float) -> pl.DataFrame:
        frame = pl.read_parquet(simulated / dataset_id / "truth" / "effects.parquet")
        chosen = (
            (pl.col("compound") == "trametinib")
            & (pl.col("context_reported") == "A375")
            & (pl.col("time_h") == 24)
            & (pl.col("dose_um") == dose_um)
        )
        return frame.filter(chosen).select("gene_id", "log2_fold_change").sort("gene_id")

    phase1, plate, drugseq = (truth(name, 10) for name in ("l1000_phase1", "l1000_ljp005", "drugseq_kp6490"))
    assert phase1.equals(plate)
    assert phase1.equals(drugseq.filter(pl.col("gene_id").is_in(phase1["gene_id"].to_list())))
    assert drugseq.height > phase1.height
