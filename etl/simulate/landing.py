"""Landing folders of simulated datasets: their marker, and files that are equal bytes for equal content.

A folder that holds files without the marker is a publisher's; it is never written to.
"""

import gzip
import io
import json
from pathlib import Path

import polars as pl

from etl.errors import BadInputError
from etl.provenance import SIMULATED_MARKER

SIMULATED_BY = "perturbhouse demo"


def refuse_published_files(folder: Path) -> None:
    """Check that a folder may receive simulated files.

    Raises:
        BadInputError: the folder holds files and no marker of a simulation.
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SIMULATED_MARKER).is_file():
        raise BadInputError(
            f"{folder} holds files that are not simulated (no {SIMULATED_MARKER}); simulated studies are not "
            "written over published ones: choose another raw folder or move the files",
            dataset_id=folder.name,
        )


def prepare(folder: Path, *, seed: int) -> None:
    """Create the folder of a simulated dataset and mark it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SIMULATED_MARKER).write_text(
        json.dumps({"seed": seed, "simulated_by": SIMULATED_BY}) + "\n", encoding="utf-8"
    )


def write_gzip(path: Path, content: bytes) -> None:
    """Write a gzip file without name or time in its header, so that equal content gives equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=6, mtime=0) as file:
        file.write(content)
    path.write_bytes(buffer.getvalue())


def write_truth(folder: Path, name: str, frame: pl.DataFrame) -> None:
    """Write ``truth/<name>.parquet`` below the folder of a dataset."""
    (folder / "truth").mkdir(exist_ok=True)
    frame.write_parquet(folder / "truth" / f"{name}.parquet", compression="zstd")
