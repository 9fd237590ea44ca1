"""Simulated studies in the publishers' own file formats, with known truth.

Real compounds and cell lines, invented values. They let a newcomer see ingestion, harmonization, effects and
agreement between datasets without a download, and they let tests ask whether the truth is found.

    catalogue    drugs, lines, mechanisms: frozen
    study        the truth drawn from a seed: effects, baselines, viability curves
    l1000, drugseq, screens, reference    one publisher's layout each
    landing      marked folders and reproducible files
"""

from pathlib import Path

from etl.provenance import REFERENCE
from etl.simulate import drugseq, l1000, landing, reference, screens
from etl.simulate.catalogue import CCLE, GCSI, KP6490, LJP005, PHASE1
from etl.simulate.study import Study

DEFAULT_SEED = 20240101


def simulate_studies(raw: Path, *, seed: int = DEFAULT_SEED) -> dict[str, Path]:
    """Write all simulated datasets, and the LINCS compound table they refer to, below the raw folder.

    Every folder gets the marker ``SIMULATED.json`` and, below ``truth/``, what an analysis should find:
    ``effects.parquet`` of a transcriptomic dataset, ``curves.parquet`` of a screen. The same seed gives the
    same bytes.

    Args:
        raw: the raw folder; made if missing.
        seed: seed of everything random.

    Returns:
        The folder of each dataset by ``dataset_id``; ``reference/`` is written beside them.

    Raises:
        BadInputError: one of the folders holds files that are not simulated; nothing is written.
    """
    folders = {dataset_id: raw / dataset_id for dataset_id in (LJP005, PHASE1, KP6490, GCSI, CCLE)}
    for folder in (*folders.values(), raw / REFERENCE):
        landing.refuse_published_files(folder)
    for folder in (*folders.values(), raw / REFERENCE):
        landing.prepare(folder, seed=seed)
    study = Study(seed)
    l1000.write_ljp005(folders[LJP005], study)
    l1000.write_phase1(folders[PHASE1], study)
    drugseq.write(folders[KP6490], study)
    screens.write_gcsi(folders[GCSI], study)
    screens.write_ccle(folders[CCLE], study)
    reference.write(raw / REFERENCE)
    return folders
