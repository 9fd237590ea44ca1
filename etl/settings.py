"""Where things are and how services are reached: read from the environment, once, here only.

=========================== ==================================================== =========================
variable                    meaning                                              default
=========================== ==================================================== =========================
``PERTURBHOUSE_ROOT``       warehouse root: a folder or a URI (``s3://…``)       ``warehouse``
``PERTURBHOUSE_RAW``        folder of publishers' files, one folder per dataset  ``<root>/raw``
``PERTURBHOUSE_CACHE``      folder of caches: answers of PubChem, parsed           ``<root>/.cache``
                            references, parents of structures
``PERTURBHOUSE_PUBCHEM``    ``auto``, ``online`` or ``offline``                  ``auto``
``PERTURBHOUSE_PUBCHEM_URL``  base address of PUG REST                           PubChem's own
``PERTURBHOUSE_TAUTOMER_KEYS``  ``yes``: fill ``tautomer_key`` of core/compound   ``no``
=========================== ==================================================== =========================

Options of object stores come from the variables their own tools use (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``).
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from etl.errors import PerturbhouseError

PubChemMode = Literal["auto", "online", "offline"]
DEFAULT_ROOT = "warehouse"


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings of one run."""

    root: str
    raw: Path
    cache: Path
    pubchem_mode: PubChemMode
    pubchem_url: str | None
    with_tautomer_keys: bool


def is_remote(root: str) -> bool:
    """Say whether a warehouse root is a URI of an object store rather than a folder."""
    return "://" in root


def storage_options(root: str) -> dict[str, str] | None:
    """Return the object-store options of the environment for a remote root, None for a folder."""
    if not is_remote(root):
        return None
    return {key: value for key, value in os.environ.items() if key.startswith(("AWS_", "GOOGLE_", "AZURE_"))}


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings that an environment describes.

    Raises:
        PerturbhouseError: a variable holds a value that is not one of its choices.
    """
    root = environment.get("PERTURBHOUSE_ROOT", DEFAULT_ROOT)
    beside = Path(tempfile.gettempdir()) / "perturbhouse" if is_remote(root) else Path(root)
    mode = environment.get("PERTURBHOUSE_PUBCHEM", "auto")
    if mode not in get_args(PubChemMode):
        raise PerturbhouseError(f"PERTURBHOUSE_PUBCHEM is {mode!r}; choose auto, online or offline")
    tautomer_keys = environment.get("PERTURBHOUSE_TAUTOMER_KEYS", "no")
    if tautomer_keys not in ("yes", "no"):
        raise PerturbhouseError(f"PERTURBHOUSE_TAUTOMER_KEYS is {tautomer_keys!r}; choose yes or no")
    return Settings(
        root=root,
        raw=Path(environment.get("PERTURBHOUSE_RAW", beside / "raw")),
        cache=Path(environment.get("PERTURBHOUSE_CACHE", beside / ".cache")),
        pubchem_mode=cast("PubChemMode", mode),
        pubchem_url=environment.get("PERTURBHOUSE_PUBCHEM_URL"),
        with_tautomer_keys=tautomer_keys == "yes",
    )
