"""Simulated bulk files of PubChem, of any size.

Belongs here: text that costs decompression, parsing and sorting what the real files do: CIDs in ascending
order, a few synonyms each, from systematic names of 60 characters to registry ids, some of them of several
compounds. Does not belong here: chemistry; nothing here is a real structure.

Names can be told from the CID: ``synonyms_of`` gives what a look-up must find.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

import polars as pl

BLOCK = 500_000
"""Compounds written at a time."""

SYNONYMS = 4
"""Synonyms of a compound whose CID is a multiple of 8; others have one or two, as most of PubChem's."""

PARENT_EVERY = 10
"""Every tenth compound is a salt of the one before it."""


def write_pubchem(folder: Path, n_compounds: int, *, only: tuple[str, ...] = ()) -> dict[str, Path]:
    """Write ``CID-*.gz`` of so many compounds into a folder; return the files by name.

    Args:
        folder: where; made if it is missing.
        n_compounds: CIDs 1 to this.
        only: names of files to write; all where empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "CID-Synonym-filtered.gz": _synonyms,
        "CID-InChI-Key.gz": _inchikeys,
        "CID-SMILES.gz": _structures,
        "CID-Parent.gz": _parents,
        "CID-Mass.gz": _masses,
    }
    written = {}
    for name, rows_of in tables.items():
        if only and name not in only:
            continue
        written[name] = folder / name
        with gzip.open(written[name], "wb", compresslevel=4) as file:
            for cids in _blocks(n_compounds):
                text = rows_of(cids).write_csv(include_header=False, separator="\t", quote_style="never")
                file.write(text.encode())
    return written


def synonyms_of(cids: pl.Series) -> pl.DataFrame:
    """Return ``cid`` and ``name`` of some compounds, in the order of the file."""
    frame = pl.DataFrame({"cid": cids.cast(pl.Int64)})
    # An odd multiplier modulo 2^32 permutes: names do not come in the order of the CIDs.
    mixed = (pl.col("cid") * 2_654_435_761) % 2**32
    systematic = pl.format(
        "(2S)-N-[{}-(4-chlorophenyl)ethyl]-{}-methyl-1H-{}-carboxamide", mixed % 997, mixed, mixed % 89
    )
    registry = pl.format("SCHEMBL{}", mixed)
    number = pl.format("{}-{}-{}", mixed // 1000, (mixed % 1000) // 10, mixed % 10)
    shared = pl.format("compound {}", mixed % 1_000_000)
    is_rich = pl.col("cid") % (2 * SYNONYMS) == 0
    few = pl.when(pl.col("cid") % 2 == 0).then(pl.concat_list(registry)).otherwise(pl.concat_list(systematic))
    names = pl.when(is_rich).then(pl.concat_list(systematic, registry, number, shared)).otherwise(few)
    return frame.with_columns(name=names).explode("name")


def inchikeys_of(cids: pl.Series) -> pl.Series:
    """Return a text of the form of an InChIKey for each CID, unlike that of any other."""
    mixed = (cids.cast(pl.Int64) * 2_654_435_761) % 2**32
    letters = [
        pl.lit("ABCDEFGHIJKLMNOPQRSTUVWXYZ").str.slice((pl.col("m") // 26**n) % 26, 1) for n in range(14)
    ]
    frame = mixed.alias("m").to_frame()
    return frame.select(key=pl.concat_str([*letters, pl.lit("-UHFFFAOYSA-N")]))["key"]


def _blocks(n_compounds: int) -> Iterator[pl.Series]:
    for start in range(1, n_compounds + 1, BLOCK):
        yield pl.int_range(start, min(start + BLOCK, n_compounds + 1), dtype=pl.Int64, eager=True).alias(
            "cid"
        )


def _synonyms(cids: pl.Series) -> pl.DataFrame:
    return synonyms_of(cids)


def _inchikeys(cids: pl.Series) -> pl.DataFrame:
    inchi = pl.format("InChI=1S/C{}H12N2O3/c1-3-5-{}(7)9-8-4/h3-6H,1-2H3", pl.col("cid") % 40, "cid")
    return cids.to_frame().select("cid", inchi.alias("inchi"), inchikeys_of(cids))


def _structures(cids: pl.Series) -> pl.DataFrame:
    ring = pl.format("CC(=O)N{}C1=CC=C(C=C1)S(=O)(=O)N{}", pl.col("cid") % 9, pl.col("cid") % 7)
    chain = pl.lit("C").repeat_by(pl.col("cid") % 20).list.join("")
    return cids.to_frame().select("cid", smiles=pl.concat_str(ring, chain))


def _parents(cids: pl.Series) -> pl.DataFrame:
    salts = cids.to_frame().filter(pl.col("cid") % PARENT_EVERY == 0)
    return salts.select("cid", parent=pl.col("cid") - 1)


def _masses(cids: pl.Series) -> pl.DataFrame:
    mass = 100 + (pl.col("cid") % 50_000) / 100
    formula = pl.format("C{}H12N2O3", pl.col("cid") % 40)
    return cids.to_frame().select(
        "cid", formula.alias("formula"), monoisotopic=mass.round(4), exact=mass.round(4)
    )
