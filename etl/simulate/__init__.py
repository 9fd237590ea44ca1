"""Simulated studies in the publishers' own file formats, with known truth.

Real compounds and cell lines, invented values. They let a newcomer see ingestion, harmonization, effects and
agreement between datasets without a download, and they let tests ask whether the truth is found.

    catalogue    drugs, lines, mechanisms: frozen
    study        the truth drawn from a seed: effects, baselines, viability curves
    l1000, drugseq, screens, op3 …, reference    one publisher's layout each
    l1000_plates, h5ad, rdata, umi_counts, workbooks    what several of these share
    landing      marked folders and reproducible files
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from etl.provenance import REFERENCE
from etl.simulate import (
    cigs,
    ctrpv2,
    depmap,
    dilimap,
    drugseq,
    gdpx2,
    gdsc,
    l1000,
    l1000_2020,
    l1000_phase2,
    landing,
    nci60,
    novartis_moabox,
    op3,
    prism_secondary,
    reference,
    sciplex3,
    screens,
    tahoe100m,
    vcpi,
)
from etl.simulate.catalogue import CCLE, GCSI, KP6490, LJP005, PHASE1
from etl.simulate.study import Study

DEFAULT_SEED = 20240101

WRITERS: Final[Mapping[str, Callable[[Path, Study], Any]]] = {
    LJP005: l1000.write_ljp005,
    PHASE1: l1000.write_phase1,
    KP6490: drugseq.write,
    GCSI: screens.write_gcsi,
    CCLE: screens.write_ccle,
    "l1000_phase2": l1000_phase2.write,
    "l1000_2020": l1000_2020.write,
    "op3": op3.write,
    "dilimap": dilimap.write,
    novartis_moabox.MOABOX: novartis_moabox.write,
    **{name: partial(vcpi.write, dataset_id=name) for name in (vcpi.VCPI_0001, vcpi.VCPI_0002)},
    gdpx2.GDPX2: gdpx2.write,
    cigs.MCE: cigs.write_mce,
    cigs.TCM: cigs.write_tcm,
    "sciplex3": sciplex3.write,
    "tahoe100m": tahoe100m.write,
    ctrpv2.CTRPV2: ctrpv2.write,
    prism_secondary.PRISM: prism_secondary.write,
    nci60.NCI60: nci60.write,
    gdsc.GDSC1: gdsc.write_gdsc1,
    gdsc.GDSC2: gdsc.write_gdsc2,
    **dict.fromkeys(("depmap_24q2", "depmap_24q4"), depmap.write),
}
"""What writes each simulated dataset into its folder."""

DEMO: Final = (LJP005, PHASE1, KP6490, "op3", vcpi.VCPI_0001, "sciplex3", GCSI, CCLE, "depmap_24q4")
"""The datasets of ``perturbhouse demo``: a minute of work, and something of each kind."""


def simulate_studies(
    raw: Path, *, seed: int = DEFAULT_SEED, datasets: Sequence[str] = DEMO
) -> dict[str, Path]:
    """Write simulated datasets, and the LINCS compound table they refer to, below the raw folder.

    Every folder gets the marker ``SIMULATED.json`` and, below ``truth/``, what an analysis should find:
    ``effects.parquet`` of a transcriptomic dataset, ``curves.parquet`` of a screen, ``expression.parquet`` of
    untreated lines. The same seed gives the
    same bytes.

    Args:
        raw: the raw folder; made if missing.
        seed: seed of everything random.
        datasets: which of ``WRITERS``.

    Returns:
        The folder of each dataset by ``dataset_id``; ``reference/`` is written beside them.

    Raises:
        BadInputError: one of the folders holds files that are not simulated; nothing is written.
    """
    folders = {dataset_id: raw / dataset_id for dataset_id in datasets}
    for folder in (*folders.values(), raw / REFERENCE):
        landing.refuse_published_files(folder)
    for folder in (*folders.values(), raw / REFERENCE):
        landing.prepare(folder, seed=seed)
    study = Study(seed)
    for dataset_id, folder in folders.items():
        WRITERS[dataset_id](folder, study)
    reference.write(raw / REFERENCE)
    return folders
