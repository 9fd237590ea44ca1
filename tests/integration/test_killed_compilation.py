"""A compilation of PubChem's bulk files that is killed publishes nothing, and the next one completes."""

import signal
import subprocess
import sys
from pathlib import Path

import polars as pl

from benchmarks.identifiers_simulation import synonyms_of, write_pubchem
from etl.formats import keyed_parquet
from etl.harmonize.pubchem_files import PubChemFiles
from etl.harmonize.reference_folder import ReferenceFolder

N_COMPOUNDS = 200_000
_COMPILE = """
import sys, time
from pathlib import Path
from etl.harmonize.pubchem_files import compile_pubchem
from etl.harmonize.reference_folder import ReferenceFolder

def progress(name, n_read, n_bytes):
    print(name, flush=True)
    if name == "CID-Synonym-filtered.gz" and n_read > n_bytes / 2:
        time.sleep(60)

compile_pubchem(ReferenceFolder(Path(sys.argv[1]), Path(sys.argv[2])), progress=progress)
"""


def test_a_killed_compilation_publishes_nothing_and_the_next_completes(tmp_path: Path) -> None:
    folder = ReferenceFolder(tmp_path / "reference", tmp_path / "cache")
    assert folder.path is not None
    write_pubchem(folder.path, N_COMPOUNDS, only=("CID-Synonym-filtered.gz", "CID-SMILES.gz"))
    arguments = [sys.executable, "-c", _COMPILE, str(folder.path), str(folder.cache)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline() == "CID-Synonym-filtered.gz\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "killed while it was reading"
    names = tmp_path / "cache" / "reference" / "pubchem" / "names"
    assert names.is_dir()
    assert keyed_parquet.open_table(names) is None

    pubchem = PubChemFiles(folder)
    listed = synonyms_of(pl.Series([8]))["name"]
    assert all(8 in cids for cids in pubchem.cids_by_name(listed).values())
    generations = [path for path in names.iterdir() if path.is_dir()]
    assert len(generations) == 1, "what the killed run left is gone"
