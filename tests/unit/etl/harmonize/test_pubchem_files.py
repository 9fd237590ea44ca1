"""PubChem's bulk files, tiny ones of the same format, compiled and asked without network."""

import gzip
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.identifiers_simulation import inchikeys_of, synonyms_of, write_pubchem
from etl.errors import BadInputError, PerturbhouseError
from etl.formats.gzip_lines import GzipLines
from etl.harmonize import pubchem_files
from etl.harmonize.pubchem import PubChem
from etl.harmonize.pubchem_files import (
    BULK_FILES,
    PubChemFiles,
    compile_pubchem,
    has_pubchem_files,
    synonym_key_expr,
)
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder

SYNONYMS = (
    "2244\tAspirin\n2244\tACETYLSALICYLIC ACID\n2244\t50-78-2\n2244\tAcetylsalicylic-acid\n"
    "5161\tSalsalate\n5161\tacetylsalicylic acid\n"
    "9000\t(+)-Thing\n9001\t(-)-Thing\n9001\t***\n9002\tα-Thing\n9003\t200-753-7\n9004\t2007-53-7\n"
)
FILES = {
    "CID-Synonym-filtered.gz": SYNONYMS,
    "CID-InChI-Key.gz": (
        "2244\tInChI=1S/C9H8O4\tBSYNRYMUTXBXSQ-UHFFFAOYSA-N\n"
        "702\tInChI=1S/C2H6O\tLFQSCWFLJHTTHZ-UHFFFAOYSA-N\n"
        "177\tInChI=1S/C2H6O\tLFQSCWFLJHTTHZ-UHFFFAOYSA-N\n"
    ),
    "CID-SMILES.gz": "702\tCCO\n2244\tCC(=O)OC1=CC=CC=C1C(=O)O\n",
    "CID-Parent.gz": "23667642\t2244\n",
    "CID-Mass.gz": "702\tC2H6O\t46.041865\t46.041864811\n",
}
RELEASED = datetime(2026, 11, 2, 6, 30, tzinfo=UTC)


def _write(path: Path, text: str | bytes, released: datetime = RELEASED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode() if isinstance(text, str) else text))
    os.utime(path, (released.timestamp(), released.timestamp()))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> ReferenceFolder:
    for name, text in FILES.items():
        _write(tmp_path / "reference" / "pubchem" / name, text)
    return ReferenceFolder(tmp_path / "reference", tmp_path / "cache")


def _file(folder: ReferenceFolder, name: str) -> Path:
    assert folder.path is not None
    return folder.path / "pubchem" / name


def test_it_is_a_pubchem_that_costs_nothing(folder: ReferenceFolder) -> None:
    with PubChemFiles(folder) as opened:
        pubchem: PubChem = opened
        assert (pubchem.origin, pubchem.is_local) == ("PubChem files of 2026-11-02", True)
        assert (pubchem.is_offline, pubchem.offline_reason) == (False, None)


def test_names_are_found_by_their_key_and_candidates_by_rank(folder: ReferenceFolder) -> None:
    pubchem = PubChemFiles(folder)
    assert pubchem.cids_by_name(
        ["ASPIRIN", "Acetylsalicylic acid", "50-78-2", "nothing", "", "Aspirin "]
    ) == {
        "ASPIRIN": [2244],
        "Acetylsalicylic acid": [2244, 5161],
        "50-78-2": [2244],
        "nothing": [],
        "": [],
        "Aspirin ": [2244],
    }
    assert (pubchem.n_asked, pubchem.n_from_cache, pubchem.n_not_asked) == (6, 0, 0)


def test_enantiomers_and_numbers_are_told_apart(folder: ReferenceFolder) -> None:
    names = ["(+)-thing", "(−)-Thing", "alpha-thing", "200-753-7", "2007-53-7", "50782"]
    assert PubChemFiles(folder).cids_by_name(names) == {
        "(+)-thing": [9000],
        "(−)-Thing": [9001],
        "alpha-thing": [9002],
        "200-753-7": [9003],
        "2007-53-7": [9004],
        "50782": [],
    }


def test_a_number_keeps_its_dashes_in_its_key() -> None:
    names = pl.DataFrame({"name": [" 50-78-2", "2-Acetoxy", "1-2-a", "NSC-1-2", None]})
    keys = names.select(synonym_key_expr(pl.col("name")))["name"].to_list()
    assert keys == ["50-78-2", "2acetoxy", "12a", "nsc12", None]


def test_inchikeys_structures_parents_and_masses_are_found(folder: ReferenceFolder) -> None:
    pubchem = PubChemFiles(folder)
    assert pubchem.cids_by_inchikey([" LFQSCWFLJHTTHZ-UHFFFAOYSA-N", "AAAAAAAAAAAAAA-UHFFFAOYSA-N"]) == {
        " LFQSCWFLJHTTHZ-UHFFFAOYSA-N": [177, 702],
        "AAAAAAAAAAAAAA-UHFFFAOYSA-N": [],
    }
    assert pubchem.structures_by_cid([702, 3, 702, -1]) == {702: "CCO"}
    assert pubchem.parents_by_cid([23667642, 2244, 0]) == {23667642: 2244, 2244: 2244}
    assert pubchem.masses_by_cid([702, 703]).rows() == [(702, "C2H6O", 46.041865, 46.041864811)]


def test_what_a_missing_file_would_tell_is_not_asked(folder: ReferenceFolder) -> None:
    for name in ("CID-Parent.gz", "CID-Mass.gz", "CID-InChI-Key.gz", "CID-Synonym-filtered.gz"):
        _file(folder, name).unlink()
    assert not has_pubchem_files(folder)
    pubchem = PubChemFiles(folder)
    assert pubchem.cids_by_name(["aspirin"]) == {}
    assert pubchem.cids_by_inchikey(["LFQSCWFLJHTTHZ-UHFFFAOYSA-N"]) == {}
    assert pubchem.parents_by_cid([2244]) == {}
    assert pubchem.masses_by_cid([2244]).height == 0
    assert pubchem.structures_by_cid([702]) == {702: "CCO"}
    assert (pubchem.n_asked, pubchem.n_not_asked) == (1, 4)
    assert pubchem.offline_reason == (
        "not in the reference folder: CID-Synonym-filtered.gz, CID-InChI-Key.gz, CID-Parent.gz"
    )


def test_without_files_nothing_is_asked(tmp_path: Path) -> None:
    for folder in (EMBEDDED_ONLY, ReferenceFolder(tmp_path, tmp_path)):
        pubchem = PubChemFiles(folder)
        assert (pubchem.origin, pubchem.released_at, pubchem.is_offline) == (
            "PubChem files, none there",
            None,
            True,
        )
        assert not has_pubchem_files(folder)


def test_files_need_a_cache(folder: ReferenceFolder) -> None:
    with pytest.raises(PerturbhouseError, match="need a cache folder"):
        compile_pubchem(ReferenceFolder(folder.path))


def test_records_account_for_every_line(folder: ReferenceFolder) -> None:
    records = compile_pubchem(folder)
    assert [Path(record.file).name for record in records] == list(BULK_FILES)
    names = records[0]
    assert (names.name, names.file) == ("names", "pubchem/CID-Synonym-filtered.gz")
    assert (names.n_lines, names.n_rows, names.is_new) == (12, 10, True)
    assert names.noted == {"no letter or digit": 1, "the same key and CID again": 1}
    assert names.released_at == RELEASED


def test_a_file_is_compiled_once(folder: ReferenceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_pubchem(folder)
    assert all(record.is_new for record in first)
    os.utime(_file(folder, "CID-SMILES.gz"))  # the same text, copied again
    monkeypatch.setattr(GzipLines, "__iter__", lambda _: pytest.fail("a file is read again"))
    again = compile_pubchem(folder)
    assert not any(record.is_new for record in again)
    assert [record.compiled_at for record in again] == [record.compiled_at for record in first]
    monkeypatch.setattr(pubchem_files, "sha256_of", lambda _: pytest.fail("its digest is taken again"))
    assert compile_pubchem(folder) == again


def test_a_new_release_and_new_code_are_compiled(
    folder: ReferenceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_pubchem(folder)
    _write(_file(folder, "CID-SMILES.gz"), "702\tOCC\n", datetime(2026, 12, 7, tzinfo=UTC))
    pubchem = PubChemFiles(folder)
    assert [record.name for record in pubchem.compiled if record.is_new] == ["structures"]
    assert pubchem.structures_by_cid([702, 2244]) == {702: "OCC"}
    assert pubchem.origin == "PubChem files of 2026-12-07"
    monkeypatch.setattr(pubchem_files, "VERSION", pubchem_files.VERSION + 1)
    assert all(record.is_new for record in compile_pubchem(folder))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("CID-Synonym-filtered.gz", "1\ta\n2\n3\tb\n", "row 2, column synonym: fewer than 2 fields"),
        ("CID-Synonym-filtered.gz", "1\ta\n\n", "row 2, column synonym: fewer than 2 fields"),
        ("CID-Synonym-filtered.gz", "1\ta\nx2\tb\n", "row 2, column cid: no CID: 'x2'"),
        ("CID-Synonym-filtered.gz", "0\ta\n", "row 1, column cid: no CID: '0'"),
        ("CID-InChI-Key.gz", "1\tInChI=1S/C\n", "row 1, column inchikey: fewer than 3 fields"),
        ("CID-Parent.gz", "1\ttwo\n", "row 1, column parent_cid: no CID: 'two'"),
        ("CID-SMILES.gz", "1\tC\n2\tN\n1\tO\n", "column cid: CID 1 has more than one line"),
        ("CID-Mass.gz", "1\tC\t12\tabout 12\n", "row 1, column exact_mass: no mass: 'about 12'"),
        ("CID-Mass.gz", "x^\tC\t12\t12\n", "row 1, column cid: no CID"),
    ],
)
def test_a_bad_line_is_named_and_the_earlier_table_stays(
    folder: ReferenceFolder, name: str, text: str, message: str
) -> None:
    before = {record.file: record for record in compile_pubchem(folder)}
    _write(_file(folder, name), text)
    with pytest.raises(BadInputError, match=message) as fault:
        compile_pubchem(folder)
    assert name in str(fault.value)
    _write(_file(folder, name), FILES[name])
    after = {record.file: record for record in compile_pubchem(folder)}
    assert after[f"pubchem/{name}"].compiled_at == before[f"pubchem/{name}"].compiled_at
    assert not after[f"pubchem/{name}"].is_new


def test_the_line_of_a_fault_is_counted_over_blocks(
    folder: ReferenceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GzipLines.__init__, "__defaults__", (64, None))
    lines = [f"{n}\tname {n}\n" for n in range(1, 400)]
    lines[321] = "no tab\n"
    _write(_file(folder, "CID-Synonym-filtered.gz"), "".join(lines))
    with pytest.raises(BadInputError, match="row 322"):
        compile_pubchem(folder)


def test_ranks_go_on_over_blocks(folder: ReferenceFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GzipLines.__init__, "__defaults__", (64, None))
    lines = [f"{cid}\tname {cid} {n}\n" for cid in (7, 8) for n in range(100)]
    lines += [f"9\tother {n}\n" for n in range(60)] + ["9\tname 7 99\n", "10\tname 7 99\n"]
    _write(_file(folder, "CID-Synonym-filtered.gz"), "".join(lines))
    assert PubChemFiles(folder).cids_by_name(["name 7 99", "name 8 99"]) == {
        "name 7 99": [10, 9, 7],
        "name 8 99": [8],
    }


def test_a_truncated_file_is_named(folder: ReferenceFolder) -> None:
    path = _file(folder, "CID-Synonym-filtered.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        BadInputError, match=r"CID-Synonym-filtered\.gz, row after \d+: the file is truncated"
    ):
        compile_pubchem(folder)


def test_a_file_that_is_there_twice_is_refused(folder: ReferenceFolder) -> None:
    assert folder.path is not None
    _write(folder.path / "old" / "CID-SMILES.gz", "1\tC\n")
    with pytest.raises(BadInputError, match=r"more than once \(old/CID-SMILES.gz, pubchem/CID-SMILES.gz\)"):
        compile_pubchem(folder)


def test_text_that_is_not_utf8_is_kept_and_counted(folder: ReferenceFolder) -> None:
    _write(_file(folder, "CID-Synonym-filtered.gz"), b"1\tcaf\xe9ine\n2\tplain\n")
    pubchem = PubChemFiles(folder)
    assert pubchem.compiled[0].noted == {"not UTF-8, kept": 1}
    assert pubchem.cids_by_name(["plain"]) == {"plain": [2]}


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], ReferenceFolder]:
    """Files of so many compounds, compiled in many runs and parts."""
    build = pubchem_files.keyed_parquet.build

    def small(*arguments: object, **options: object) -> object:
        return build(*arguments, **options, run_bytes=60_000, part_bytes=30_000, row_group_rows=128)  # type: ignore[arg-type]

    monkeypatch.setattr(pubchem_files.keyed_parquet, "build", small)
    monkeypatch.setattr(GzipLines.__init__, "__defaults__", (20_000, None))

    def make(n_compounds: int) -> ReferenceFolder:
        write_pubchem(tmp_path / "reference", n_compounds)
        return ReferenceFolder(tmp_path / "reference", tmp_path / "cache")

    return make


def test_every_simulated_name_and_key_is_found(simulated: Callable[[int], ReferenceFolder]) -> None:
    folder = simulated(3000)
    pubchem = PubChemFiles(folder)
    names = synonyms_of(pl.int_range(1, 3001, eager=True))
    found = pubchem.cids_by_name(names["name"])
    listed = pl.DataFrame({"name": list(found), "cid": list(found.values())}).explode("cid")
    assert_frame_equal(
        listed.sort("name", "cid"), names.select("name", "cid").sort("name", "cid"), check_dtypes=False
    )
    keys = inchikeys_of(pl.int_range(1, 3001, eager=True))
    assert pubchem.cids_by_inchikey(keys) == {key: [cid] for cid, key in enumerate(keys, start=1)}
    assert len(pubchem.structures_by_cid(range(1, 4000))) == 3000
    assert pubchem.parents_by_cid([10, 11]) == {10: 9, 11: 11}


def test_recorded_synonyms_of_pubchem_all_lead_to_their_compound(realdata: Path, tmp_path: Path) -> None:
    recorded = realdata / "raw" / "pubchem" / "rest__pug__compound__name__synonyms__JSON-911636-POST.json"
    [information] = json.loads(recorded.read_text())["InformationList"]["Information"]
    cid, synonyms = information["CID"], information["Synonym"]
    _write(tmp_path / "CID-Synonym-filtered.gz", "".join(f"{cid}\t{synonym}\n" for synonym in synonyms))
    pubchem = PubChemFiles(ReferenceFolder(tmp_path, tmp_path / "cache"))
    assert pubchem.cids_by_name(synonyms) == {synonym: [cid] for synonym in synonyms}
