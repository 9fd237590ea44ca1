"""GDSC2: the second screen of the Genomics of Drug Sensitivity in Cancer, since 2015.

Here: what sets it apart: one assay, and vehicle wells (``NC-1``) as negative controls. Not here: what both
screens share (``gdsc``).
"""

from etl.sources.gdsc import Gdsc, spec_of

SPEC = spec_of(
    "GDSC2",
    title="Genomics of Drug Sensitivity in Cancer 2 (GDSC2)",
    readout="CellTiter-Glo luminescence after 72 h, one value per well",
)


class Gdsc2(Gdsc):
    """Adapter of GDSC2."""

    def __init__(self) -> None:
        super().__init__("GDSC2", SPEC, negative_control="NC-1")
