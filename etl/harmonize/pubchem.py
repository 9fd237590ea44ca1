"""What is asked of PubChem, whoever answers.

Here: the interface that PUG REST (``pubchem_rest.py``) and the bulk files (``pubchem_files.py``) share. Not
here: which of several candidates a name means (``compounds.py``).

Three answers are told apart: PubChem knows it (candidates), PubChem does not know it (an empty list), and it
was not asked (absent from the result), because the run is offline or the file that would tell is not there.
"""

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from etl.errors import PerturbhouseError


class PubChemUnavailableError(PerturbhouseError):
    """PubChem cannot be reached although the run is set to need it (mode ``online``)."""


class PubChem(Protocol):
    """Names, InChIKeys and CIDs looked up in PubChem; use as a context manager.

    Ask for many keys in one call: every form of PubChem answers them in batches where it can.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def origin(self) -> str:
        """Which PubChem answers, as a report states it: ``PubChem REST``, ``PubChem files of 2026-11-02``."""

    @property
    def is_local(self) -> bool:
        """Whether asking costs nothing: no service is troubled and many keys take seconds."""

    @property
    def is_offline(self) -> bool:
        """Whether some keys cannot be asked, so that what is absent from a result may yet be known."""

    @property
    def offline_reason(self) -> str | None:
        """Why keys cannot be asked; null while all can."""

    @property
    def n_asked(self) -> int:
        """Keys answered by PubChem in this run."""

    @property
    def n_from_cache(self) -> int:
        """Keys answered from what earlier runs were told."""

    @property
    def n_not_asked(self) -> int:
        """Keys without answer, because they could not be asked."""

    def cids_by_name(self, names: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each name, in PubChem's order; ``[]`` where it knows none.

        Synonyms, CAS numbers and registry ids are names to PubChem. Names that were not asked are absent.
        """

    def cids_by_inchikey(self, inchikeys: Iterable[str]) -> dict[str, list[int]]:
        """Return the CIDs of each standard InChIKey, as :meth:`cids_by_name`."""

    def structures_by_cid(self, cids: Iterable[int]) -> dict[int, str]:
        """Return the SMILES of each CID; CIDs that are unknown to PubChem or were not asked are absent."""

    def parents_by_cid(self, cids: Iterable[int]) -> dict[int, int]:
        """Return PubChem's parent compound of each CID: itself where there is no other.

        CIDs that were not asked are absent.
        """
