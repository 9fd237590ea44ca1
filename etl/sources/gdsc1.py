"""GDSC1: the first screen of the Genomics of Drug Sensitivity in Cancer, 2009 to 2015.

Here: what sets it apart: several assays, and untreated wells (``NC-0``) as the only negative controls. Not
here: what both screens share (``gdsc``).
"""

from etl.sources.gdsc import Gdsc, spec_of

SPEC = spec_of(
    "GDSC1",
    title="Genomics of Drug Sensitivity in Cancer 1 (GDSC1)",
    readout="resazurin, Syto60 or CellTiter-Glo after 72 h or more, one value per well",
)


class Gdsc1(Gdsc):
    """Adapter of GDSC1."""

    def __init__(self) -> None:
        super().__init__("GDSC1", SPEC, negative_control="NC-0")
