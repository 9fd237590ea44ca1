"""Speed of the identifiers: structures, names, cell lines, genes.

    python benchmarks/identifiers.py                      # everything
    python benchmarks/identifiers.py --part structures    # one part
    python benchmarks/identifiers.py --raw <folder>       # with real structures and labels where they are
    python benchmarks/identifiers.py --part names --compounds 20000000

Each part runs in a fresh process and prints its rate beside the machine's own limit measured in the same run
(RDKit's single core, plain decompression, reading the lines), its goal, and the peak memory of all processes.
"""

import argparse
import gzip
import random
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import polars as pl
from identifiers_simulation import inchikeys_of, synonyms_of, write_pubchem
from processes import in_fresh_process
from rdkit import Chem, rdBase

from etl.formats import cellosaurus
from etl.harmonize.compound_names import name_key_expr
from etl.harmonize.compound_reference import CompoundReference
from etl.harmonize.context_reference import load_context_reference
from etl.harmonize.contexts import resolve_contexts
from etl.harmonize.gene_reference import load_gene_reference
from etl.harmonize.genes import resolve_genes
from etl.harmonize.pubchem_files import PubChemFiles, compile_pubchem
from etl.harmonize.reference_folder import EMBEDDED_ONLY, ReferenceFolder
from etl.harmonize.structure_cache import StructureCache
from etl.harmonize.structures import standardize
from schemas.reported import ReportedContext, ReportedGene
from schemas.table import match_to_model

N_STRUCTURES = 40_000
N_NAMES = 40_000
N_SYNONYMS = 1_000_000
N_LINES = 150_000
N_LABELS = 1_000
N_GENES = 80_000
N_WORKERS = 2
MB = 1e6


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--raw", type=Path, help="raw folder whose reference/ is used where it helps")
    parser.add_argument("--compounds", type=int, default=5_000_000, help="size of the simulated PubChem")
    arguments = parser.parse_args()
    for name in arguments.part:
        with tempfile.TemporaryDirectory() as folder:
            print(f"\n## {name}", flush=True)
            _, usage = in_fresh_process(PARTS[name], folder, arguments.raw, arguments.compounds)
            print(
                f"{name}: {usage.wall:.1f} s in all, {usage.cpu:.1f} CPU s, "
                f"peak {usage.peak_bytes / 1e9:.2f} GB",
                flush=True,
            )


def structures(sender: Connection, folder: str, raw: Path | None, _: int) -> None:
    """Parents of distinct structures, computed and from the cache."""
    smiles = _smiles(raw)
    sample = smiles.sample(2_000, seed=1).to_list()
    start = time.perf_counter()
    with rdBase.BlockLogs():
        for text in sample:
            Chem.MolToInchiKey(Chem.MolFromSmiles(text))
    limit = len(sample) / (time.perf_counter() - start)
    with StructureCache(Path(folder) / "structures.sqlite") as cache:
        for what in ("computed", "from the cache"):
            start = time.perf_counter()
            rows = standardize(smiles, n_workers=N_WORKERS, cache=cache)
            seconds = time.perf_counter() - start
            rate = rows.height / seconds
            print(
                f"{rows.height:,} structures {what} in {seconds:.1f} s with {N_WORKERS} processes "
                f"(goal: 60 s): {rate:,.0f}/s, {rate / limit:.2f} times RDKit's parse and InChIKey on "
                f"one core ({limit:,.0f}/s); {rows['problem'].count():,} with a problem"
            )
    sender.send(True)


def names(sender: Connection, folder: str, _: Path | None, n_compounds: int) -> None:
    """PubChem's files compiled, then names, keys and structures looked up in them."""
    raw = Path(folder) / "raw"
    files = write_pubchem(raw, n_compounds)
    print(f"simulated: {n_compounds:,} compounds")
    for name, path in files.items():
        start, n_bytes = time.perf_counter(), 0
        with gzip.open(path) as text:
            while block := text.read(1 << 22):
                n_bytes += len(block)
        rate = n_bytes / MB / (time.perf_counter() - start)
        print(f"    {name}: {n_bytes / MB:,.0f} MB, inflated with {rate:,.0f} MB/s")
    references = ReferenceFolder(raw, Path(folder) / "cache")
    start = time.perf_counter()
    tables = compile_pubchem(references)
    seconds = time.perf_counter() - start
    n_lines = sum(table.n_lines for table in tables)
    print(
        f"compiled: {n_lines:,} lines in {seconds:.1f} s, {n_lines / seconds:,.0f}/s, "
        f"{sum(table.n_bytes for table in tables) / MB:,.0f} MB of tables"
    )
    start = time.perf_counter()
    compile_pubchem(references)
    print(f"compiled again, nothing changed: {time.perf_counter() - start:.3f} s")
    cids = pl.Series("cid", random.Random(1).sample(range(1, n_compounds + 1), N_SYNONYMS))
    known = synonyms_of(cids).unique("cid", keep="first", maintain_order=True)
    with PubChemFiles(references) as pubchem:
        for what, wanted in (("names", known.head(N_NAMES)), ("synonyms", known)):
            start = time.perf_counter()
            found = pubchem.cids_by_name(wanted["name"].to_list())
            seconds = time.perf_counter() - start
            n_right = sum(cid in found[name] for cid, name in wanted.select("cid", "name").iter_rows())
            print(
                f"{wanted.height:,} {what} looked up in {seconds:.1f} s ({wanted.height / seconds:,.0f}/s), "
                f"{n_right:,} found"
            )
        keys = inchikeys_of(cids.head(N_NAMES)).to_list()
        for what, ask, wanted_keys in (
            ("InChIKeys", pubchem.cids_by_inchikey, keys),
            ("structures", pubchem.structures_by_cid, cids.head(N_NAMES).to_list()),
        ):
            start = time.perf_counter()
            answers: dict[Any, Any] = ask(wanted_keys)  # type: ignore[operator]
            print(f"{len(answers):,} {what} looked up in {time.perf_counter() - start:.1f} s")
    sender.send(True)


def synonyms(sender: Connection, folder: str, _: Path | None, __: int) -> None:
    """Names matched against a table of one's own of a million synonyms, in memory."""
    del folder
    cids = pl.int_range(1, N_SYNONYMS + 1, dtype=pl.Int64, eager=True).alias("cid")
    known = synonyms_of(cids).unique("cid", keep="first", maintain_order=True)
    start = time.perf_counter()
    table = known.select(
        smiles=pl.format("C{}", "cid"),
        inchikey=pl.lit(None, pl.String),
        pubchem_cid="cid",
        registry_ids=pl.lit([], dtype=pl.List(pl.String)),
        cas=pl.lit([], dtype=pl.List(pl.String)),
        name_keys=pl.concat_list(name_key_expr(pl.col("name"))),
    )
    keyed = time.perf_counter() - start
    reference = CompoundReference({"own": table}, pl.DataFrame())
    start = time.perf_counter()
    keys = known.select(name_key_expr(pl.col("name")))["name"].to_list()
    found = reference.candidates("name", keys)
    seconds = time.perf_counter() - start
    print(
        f"{N_SYNONYMS:,} synonyms keyed in {keyed:.1f} s; all of them matched in {seconds:.1f} s "
        f"(goal: 10 s): {len(found):,} keys found"
    )
    sender.send(True)


def contexts(sender: Connection, folder: str, _: Path | None, __: int) -> None:
    """Cellosaurus of full size read, indexed, and labels resolved with it."""
    path = Path(folder) / "cellosaurus.txt"
    with path.open("w") as file:
        file.writelines(_record(number) for number in range(N_LINES))
    start = time.perf_counter()
    with path.open("rb") as text:
        n_lines = sum(1 for _ in text)
    limit = time.perf_counter() - start
    start = time.perf_counter()
    lines = cellosaurus.read(path)
    seconds = time.perf_counter() - start
    print(
        f"Cellosaurus, {lines.height:,} records, {path.stat().st_size / MB:,.0f} MB, read in {seconds:.1f} s "
        f"(goal: 20 s): {seconds / limit:.0f} times as long as counting its {n_lines:,} lines"
    )
    references = ReferenceFolder(Path(folder), Path(folder) / "cache")
    load_context_reference(references)
    start = time.perf_counter()
    reference = load_context_reference(references)
    loaded = time.perf_counter() - start
    labels = [f"toy {random.Random(n).randrange(N_LINES)}" for n in range(N_LABELS)]
    rows = match_to_model(pl.DataFrame({"context_reported": sorted(set(labels))}), ReportedContext).collect()
    start = time.perf_counter()
    resolved, account = resolve_contexts(rows, dataset_id="benchmark", reference=reference)
    print(
        f"index from the parsed file {loaded:.1f} s; {resolved.height:,} labels resolved in "
        f"{time.perf_counter() - start:.2f} s: {dict(account.noted)}"
    )
    sender.send(True)


def genes(sender: Connection, folder: str, raw: Path | None, _: int) -> None:
    """Ids and symbols of all kinds resolved."""
    references = EMBEDDED_ONLY if raw is None else ReferenceFolder(raw / "reference", Path(folder) / "cache")
    start = time.perf_counter()
    reference = load_gene_reference(references)
    loaded = time.perf_counter() - start
    listed = reference.genes.sort("gene_id")
    former = listed["previous_symbols"].explode().drop_nulls()
    labels = pl.concat(
        [
            listed.select(label=pl.format("ENSG{}.7", pl.col("gene_id").cast(pl.String).str.zfill(11))),
            listed.drop_nulls("symbol").select(label="symbol"),
            listed.drop_nulls("entrez_id").select(label=pl.format("ENTREZ:{}", "entrez_id")),
            former.alias("label").to_frame(),
            pl.DataFrame({"label": [f"{day}-{month}" for day in range(1, 13) for month in ("Mar", "Sep")]}),
            pl.select(label=pl.format("unknown{}", pl.int_range(N_GENES))),
        ]
    )
    rows = labels.unique("label", keep="first", maintain_order=True).head(N_GENES)
    reported = match_to_model(rows.select(gene_reported="label"), ReportedGene).collect()
    start = time.perf_counter()
    resolved, account = resolve_genes(reported, dataset_id="benchmark", reference=reference)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    reported.join(
        listed.select(gene_reported="symbol", gene_id="gene_id").unique("gene_reported"),
        on="gene_reported",
        how="left",
    )
    limit = time.perf_counter() - start
    print(
        f"{resolved.height:,} labels resolved in {seconds:.2f} s (goal: 1 s), {seconds / limit:.0f} times "
        f"one join of them by symbol; reference loaded in {loaded:.1f} s\n    {dict(account.noted)}"
    )
    sender.send(True)


PARTS: dict[str, Callable[..., None]] = {
    "structures": structures,
    "names": names,
    "synonyms": synonyms,
    "contexts": contexts,
    "genes": genes,
}


def _smiles(raw: Path | None) -> pl.Series:
    """Return distinct structures: real ones where they are here, the rest put together from real parts."""
    real = pl.Series([], dtype=pl.String)
    if raw is not None:
        table = pl.read_csv(
            raw / "reference/lincs_pertinfo.tsv.gz", separator="\t", infer_schema=False, quote_char=None
        )
        stated = table.filter(pl.col("pert_type") == "trt_cp")["canonical_smiles"].drop_nulls()
        real = stated.filter(stated.str.len_chars() > len("restricted")).unique().sort()
    print(f"{real.len():,} published structures, the others assembled")
    heads = ("CN1CCN(CC1)", "C[C@H](N)C(=O)N", "O=C(O)CCN", "CC(C)(C)OC(=O)N", "FC(F)(F)C1CCN(CC1)", "COCCN")
    rings = ("c1ccc({})cc1", "c1ccc2[nH]cc({})c2c1", "c1cnc({})nc1", "c1csc({})n1", "c1ccc2c(c1)OCO2.{}")
    links = ("C(=O)N", "S(=O)(=O)N", "CCN", "OCC", "NC(=O)N", "C/C=C/C(=O)N")
    tails = [f"{'C' * n}C1({a})CC{b}1" for n in range(12) for a in ("C", "F", "OC") for b in ("C", "O", "N")]
    salts = ("", ".Cl", ".OS(C)(=O)=O", ".[Na+].[Cl-]")
    parts = [
        f"{head}{ring.format('NC1CC1')}.{link}{tail}{salt}"
        if ring.endswith(".{}")
        else f"{head}{ring.format(link + tail)}{salt}"
        for head in heads
        for ring in rings
        for link in links
        for tail in tails
        for salt in salts
    ]
    assembled = [text for text in parts if Chem.MolFromSmiles(text) is not None] if not real.len() else parts
    random.Random(1).shuffle(assembled)
    return pl.concat([real, pl.Series(assembled)]).unique(maintain_order=True).head(N_STRUCTURES)


def _record(number: int) -> str:
    """Return a record of Cellosaurus of the usual length."""
    references = "".join(f"DR   Database_{n}; {number}-{n}\n" for n in range(14))
    return (
        f"ID   Toy {number}\nAC   CVCL_{number:05d}\nSY   Toy-{number}; TOY{number} line; T.{number}\n"
        f"{references}DR   DepMap; ACH-{number:06d}\nDR   Cell_Model_Passport; SIDM{number:05d}\n"
        f"DR   Cosmic; {900_000 + number}\nRX   PubMed={number};\nWW   https://example.org/{number}\n"
        "CC   Population: Caucasian.\nCC   Derived from site: In situ; Lung; UBERON=UBERON_0002048.\n"
        "ST   Source(s): ATCC\nST   Amelogenin: X,Y\nST   CSF1PO: 10,12\nST   D13S317: 11\nST   TH01: 6,9.3\n"
        "DI   NCIt; C4017; Lung carcinoma\n"
        "OX   NCBI_TaxID=9606; ! Homo sapiens (Human)\nSX   Male\nAG   58Y\n"
        "CA   Cancer cell line\nDT   Created: 04-04-12; Last updated: 10-09-24; Version: 30\n//\n"
    )


if __name__ == "__main__":
    main()
