"""The registry of datasets: ``SOURCES`` maps a dataset id to its adapter.

Partitions, command-line choices, documentation and tests are derived from it. A third party adds its own
adapter through the entry-point group ``perturbhouse.sources``.
"""

from importlib.metadata import entry_points

from etl.errors import PerturbhouseError
from etl.sources.base import Source
from etl.sources.ccle_2015 import Ccle2015
from etl.sources.cigs_mce import CigsMce
from etl.sources.cigs_tcm import CigsTcm
from etl.sources.ctrpv2 import Ctrpv2
from etl.sources.depmap_expression import RELEASES, DepmapExpression
from etl.sources.dilimap import Dilimap
from etl.sources.drugseq_kp6490 import DrugseqKp6490
from etl.sources.gcsi import Gcsi
from etl.sources.gdpx2 import Gdpx2
from etl.sources.gdsc1 import Gdsc1
from etl.sources.gdsc2 import Gdsc2
from etl.sources.l1000_2020 import L1000Release2020
from etl.sources.l1000_ljp005 import L1000Ljp005
from etl.sources.l1000_phase1 import L1000Phase1
from etl.sources.l1000_phase2 import L1000Phase2
from etl.sources.nci60 import Nci60
from etl.sources.novartis_moabox import NovartisMoabox
from etl.sources.op3 import Op3
from etl.sources.prism_secondary import PrismSecondary
from etl.sources.sciplex3 import Sciplex3
from etl.sources.single_cell import Pseudobulked
from etl.sources.tahoe100m import Tahoe100m
from etl.sources.vcpi_0001 import Vcpi0001
from etl.sources.vcpi_0002 import Vcpi0002

BUILT_IN: tuple[Source, ...] = (
    L1000Ljp005(),
    L1000Phase1(),
    L1000Phase2(),
    L1000Release2020(),
    DrugseqKp6490(),
    Op3(),
    Dilimap(),
    NovartisMoabox(),
    Vcpi0001(),
    Vcpi0002(),
    Gdpx2(),
    CigsMce(),
    CigsTcm(),
    Pseudobulked(Sciplex3()),
    Pseudobulked(Tahoe100m()),
    Gcsi(),
    Ccle2015(),
    Ctrpv2(),
    Gdsc1(),
    Gdsc2(),
    PrismSecondary(),
    Nci60(),
    *(DepmapExpression(release) for release in RELEASES),
)


def registered_sources() -> dict[str, Source]:
    """Return every adapter by dataset id: those of this project, then those of installed packages.

    Raises:
        PerturbhouseError: a package registers an id that is taken or that differs from its adapter's.
    """
    sources = {source.spec.dataset_id: source for source in BUILT_IN}
    for entry in entry_points(group="perturbhouse.sources"):
        source = entry.load()()
        if entry.name in sources or entry.name != source.spec.dataset_id:
            raise PerturbhouseError(
                f"entry point {entry.name!r} ({entry.value}) must carry its adapter's own dataset id, once"
            )
        sources[entry.name] = source
    return sources


SOURCES: dict[str, Source] = registered_sources()


def source_named(dataset_id: str) -> Source:
    """Return the adapter of a dataset.

    Raises:
        PerturbhouseError: there is none; the message lists those there are.
    """
    if dataset_id not in SOURCES:
        raise PerturbhouseError(f"unknown dataset {dataset_id!r}; there are: {', '.join(SOURCES)}")
    return SOURCES[dataset_id]
