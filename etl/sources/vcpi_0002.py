"""VCPI release 0002: about 1,500 compounds on THP-1, six doses from 0.03 to 10 µM, 24 h, DRUG-seq.

Raw layout: as ``vcpi``. The publisher calls the release ``vcpi-0002`` and its job ``tvc-kdl-010``.

Here: this release's facts. Not here: reading (``vcpi``).
"""

from etl.sources import vcpi
from etl.sources.base import SourceSpec

SPEC = SourceSpec(
    dataset_id="vcpi_0002",
    title="Virtual Cell Pharmacology Initiative, release 0002: compounds on THP-1",
    assay="drugseq",
    readout="UMI counts of 3' RNA sequencing of lysates in wells, 24 h",
    value_scale="counts",
    files=vcpi.file_list(),
    license="CC BY 4.0 where the publisher says so; not stated for the whole release",
    is_redistributable=False,
    access="registration",
    release="vcpi-0002, the three frames of the publisher's client saved as Parquet",
    url=vcpi.CLIENT,
)


class Vcpi0002(vcpi.Vcpi):
    """Adapter of the release."""

    spec = SPEC
