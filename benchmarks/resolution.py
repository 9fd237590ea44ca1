"""How well real names resolve: shares by method, what is left open and why, and routes compared.

    python benchmarks/resolution.py --raw ../shared/realdata/raw [--write report.csv]

Reads the publishers' tables of compounds, cell lines and genes below a raw folder (those that are there) and
the references in its ``reference/``. No service is asked. Prints per source:

* names, the share resolved by each method and with which confidence, chosen among several, contradicted, and
  the ten most frequent reasons of what is left open;
* where the source gives structures: precision and recall of its names, registry ids, CAS numbers and keys,
  each alone, once with the references and once with nothing but the tables of the other sources, so that no
  source is asked about itself. Truth is the parent of the source's structure: as skeleton and as whole key.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from etl.harmonize.compound_names import name_key_expr
from etl.harmonize.compound_reference import NO_REFERENCE, CompoundReference, load_compound_reference
from etl.harmonize.compounds import resolve_compounds
from etl.harmonize.context_reference import load_context_reference
from etl.harmonize.contexts import resolve_contexts
from etl.harmonize.overrides import Entity, load_overrides
from etl.harmonize.pubchem import PubChem
from etl.harmonize.pubchem_files import PubChemFiles, has_pubchem_files
from etl.harmonize.pubchem_rest import PubChemRest
from etl.harmonize.reference_folder import ReferenceFolder
from etl.harmonize.registry_ids import registry_key
from etl.harmonize.structure_cache import StructureCache
from etl.harmonize.structures import standardize
from etl.sources import SOURCES
from schemas.reported import ReportedCompound, ReportedContext
from schemas.table import match_to_model

LINCS_MISSING = ("-666", "restricted", "")
N_REASONS = 10
ROUTES: Mapping[str, str] = {
    "name": "name",
    "registry id": "vendor_id",
    "CAS number": "cas",
    "InChIKey": "inchikey",
}
"""The evidence that is left when a route is tried alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Reported rows of one publisher's table."""

    name: str
    entity: Entity
    rows: pl.DataFrame


def lincs_compounds(raw: Path) -> pl.DataFrame:
    """Return the small molecules of the LINCS perturbagen table."""
    table = pl.read_csv(
        raw / "reference/lincs_pertinfo.tsv.gz", separator="\t", infer_schema=False, quote_char=None
    ).filter(pl.col("pert_type") == "trt_cp")
    text = [
        pl.when(~pl.col(name).is_in(LINCS_MISSING)).then(pl.col(name)).alias(name)
        for name in ("pert_id", "pert_iname", "pubchem_cid", "canonical_smiles", "inchi_key")
    ]
    return _compounds(
        table.select(text).select(
            compound_reported="pert_id",
            name="pert_iname",
            smiles="canonical_smiles",
            inchikey="inchi_key",
            vendor_id="pert_id",
            pubchem_cid=pl.col("pubchem_cid").cast(pl.Int64, strict=False),
        )
    )


def moabox_compounds(raw: Path) -> pl.DataFrame:
    """Return the compounds of Novartis' MoABox."""
    [path] = (raw / "novartis_moabox").glob("*compounds*")
    table = pl.read_csv(path, separator="\t", infer_schema=False, quote_char=None)
    return _compounds(
        table.select(
            compound_reported="cmpd_sample_id",
            smiles="smiles",
            inchikey="inchi_key",
            cas="cas_number",
            mechanism="moa",
        )
    )


def op3_compounds(raw: Path) -> pl.DataFrame:
    """Return the compounds of OP3."""
    table = pl.read_csv(raw / "op3/compounds_from_de_train.csv", infer_schema=False)
    return _compounds(
        table.select(compound_reported="sm_name", name="sm_name", smiles="SMILES", vendor_id="sm_lincs_id")
    )


def ctrpv2_compounds(raw: Path) -> pl.DataFrame:
    """Return the compounds of CTRPv2, combinations among them."""
    table = pl.read_csv(
        raw / "ctrpv2/v20.meta.per_compound.txt", separator="\t", infer_schema=False, quote_char=None
    )
    return _compounds(
        table.select(
            compound_reported="master_cpd_id", name="cpd_name", smiles="cpd_smiles", vendor_id="broad_cpd_id"
        )
    )


def ctrpv2_lines(raw: Path) -> pl.DataFrame:
    """Return the cell lines of CTRPv2."""
    table = pl.read_csv(raw / "ctrpv2/v20.meta.per_cell_line.txt", separator="\t", infer_schema=False)
    return _contexts(table.select(context_reported="ccl_name", tissue="ccle_primary_site"))


def lincs_lines(raw: Path) -> pl.DataFrame:
    """Return the cell lines of the LINCS table."""
    table = pl.read_csv(
        raw / "reference/lincs_cellinfo.tsv.gz", separator="\t", infer_schema=False, quote_char=None
    )
    return _contexts(table.select(context_reported="cell_id", tissue="cell_lineage"))


def sources(raw: Path) -> Iterator[Source]:
    """Yield every source of compounds and cell lines that is below the raw folder."""
    tables = (
        ("LINCS", "compound", lincs_compounds),
        ("MoABox", "compound", moabox_compounds),
        ("OP3", "compound", op3_compounds),
        ("CTRPv2", "compound", ctrpv2_compounds),
        ("LINCS", "context", lincs_lines),
        ("CTRPv2", "context", ctrpv2_lines),
    )
    for name, entity, read in tables:
        try:
            yield Source(name, entity, read(raw))  # type: ignore[arg-type]
        except (FileNotFoundError, ValueError) as missing:
            print(f"{name} {entity}s: not here ({missing})")
    for dataset_id, source in SOURCES.items():
        if (raw / dataset_id).is_dir():
            yield Source(dataset_id, "compound", source.compounds(raw / dataset_id).collect())
            yield Source(dataset_id, "context", source.contexts(raw / dataset_id).collect())


def report(source: Source, names: pl.DataFrame, seconds: float) -> None:
    """Print what became of a source's names."""
    n = names.height
    is_open = pl.col("method") == "unresolved"
    print(f"\n## {source.name}, {source.entity}s: {n:,} in {seconds:.1f} s")
    print(f"resolved {n - names.filter(is_open).height:,} ({1 - names.filter(is_open).height / n:.1%})")
    counts = names.filter(~is_open).group_by("method", "confidence").len()
    for method, confidence, count in counts.sort("len", descending=True).iter_rows():
        print(f"    {count:7,}  {count / n:6.1%}  by {method}, {confidence}")
    print(f"    {names['rule'].count():7,}  chosen among several candidates")
    if "conflicts" in names.columns:
        print(f"    {names.filter(pl.col('conflicts').list.len() > 0).height:7,}  contradicted")
    still_open = names.filter(is_open)
    ambiguous = still_open.filter(pl.col("candidates").list.len() > 1).height
    print(f"unresolved {still_open.height:,}, of these {ambiguous:,} ambiguous")
    causes = still_open.select(
        cause=pl.col("reason").str.replace_all(r"'[^']*'|CVCL_\w+(, )?", "…").str.replace_all(r"\d+", "n")
    )
    for cause, count in causes["cause"].value_counts(sort=True).head(N_REASONS).iter_rows():
        print(f"    {count:7,}  {cause}")


def compare_routes(
    source: Source, names: pl.DataFrame, resolve: "Resolve", others: CompoundReference
) -> None:
    """Print precision and recall of single routes against the parent of the structure."""
    truth = names.filter(pl.col("method") == "structure").select("compound_reported", truth="compound_id")
    for route, column in ROUTES.items():
        known = source.rows.join(truth, on="compound_reported").filter(pl.col(column).is_not_null())
        if known.is_empty():
            continue
        # A key that says nothing, so that the route is alone.
        rows = known.with_row_index("number").with_columns(
            compound_reported=pl.format("compound number {}", "number")
        )
        for which, reference in (("references", None), ("other sources", others)):
            found = resolve(_compounds(rows.select("compound_reported", column)), reference)
            print(f"{route} alone, {which}: {_agreement(found, rows)}")


def _agreement(found: pl.DataFrame, rows: pl.DataFrame) -> str:
    told = found.join(rows.select("compound_reported", "truth"), on="compound_reported").filter(
        pl.col("method") != "unresolved"
    )
    is_skeleton = pl.col("compound_id").str.head(14) == pl.col("truth").str.head(14)
    counts = told.group_by("confidence").agg(n=pl.len(), right=is_skeleton.sum()).sort("confidence")
    by_confidence = ", ".join(f"{name} {right} of {n}" for name, n, right in counts.iter_rows())
    n_told, n = max(told.height, 1), rows.height
    skeleton = told.filter(is_skeleton).height
    whole = told.filter(pl.col("compound_id") == pl.col("truth")).height
    return (
        f"{told.height:,} of {n:,} told; by skeleton precision {skeleton / n_told:.2%}, "
        f"recall {skeleton / n:.2%}; "
        f"by key precision {whole / n_told:.2%}, recall {whole / n:.2%} (right by skeleton: {by_confidence})"
    )


def as_reference(sources: list[Source]) -> CompoundReference:
    """Return the structures of sources as reference tables."""
    none = pl.lit([], dtype=pl.List(pl.String))
    tables = {
        source.name: source.rows.filter(pl.col("smiles").is_not_null()).select(
            "smiles",
            pl.col("inchikey").str.strip_prefix("InChIKey="),
            "pubchem_cid",
            registry_ids=pl.when(pl.col("vendor_id").is_not_null())
            .then(pl.concat_list(pl.col("vendor_id").map_elements(registry_key, return_dtype=pl.String)))
            .otherwise(none),
            cas=pl.when(pl.col("cas").is_not_null()).then(pl.concat_list("cas")).otherwise(none),
            name_keys=pl.when(pl.col("name").is_not_null())
            .then(pl.concat_list(name_key_expr(pl.col("name"))))
            .otherwise(none),
        )
        for source in sources
    }
    return CompoundReference(tables, NO_REFERENCE.equivalents)


class Resolve:
    """Resolution of compounds with one set of references."""

    def __init__(self, folder: ReferenceFolder, pubchem: PubChem, cache: StructureCache) -> None:
        self.reference: CompoundReference = load_compound_reference(folder)
        self._overrides = load_overrides(folder).of("compound", "report")
        self._pubchem, self._standardize = pubchem, partial(standardize, n_workers=2, cache=cache)

    def __call__(self, rows: pl.DataFrame, reference: CompoundReference | None = None) -> pl.DataFrame:
        """Return the rows of ``core/compound_name``, with the references or with others."""
        names, _ = resolve_compounds(
            rows,
            dataset_id="report",
            reference=self.reference if reference is None else reference,
            pubchem=self._pubchem,
            overrides=self._overrides,
            standardize=self._standardize,
        )
        return names


def _compounds(rows: pl.DataFrame) -> pl.DataFrame:
    blank = rows.with_columns(pl.when(pl.col(pl.String) != "").then(pl.col(pl.String)).name.keep())
    once = blank.unique("compound_reported", keep="first", maintain_order=True)
    return match_to_model(once, ReportedCompound).collect()


def _contexts(rows: pl.DataFrame) -> pl.DataFrame:
    once = rows.drop_nulls("context_reported").unique("context_reported", keep="first", maintain_order=True)
    return match_to_model(once, ReportedContext).collect()


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--raw", type=Path, required=True, help="folder of publishers' files")
    parser.add_argument("--write", type=Path, help="folder to write every resolved name to, as CSV")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        references = ReferenceFolder(arguments.raw / "reference", cache)
        pubchem: PubChem = (
            PubChemFiles(references)
            if has_pubchem_files(references)
            else PubChemRest(cache / "pubchem.sqlite", mode="offline")
        )
        contexts = load_context_reference(references)
        with pubchem, StructureCache(cache / "structures.sqlite") as structures:
            resolve = Resolve(references, pubchem, structures)
            found = list(sources(arguments.raw))
            with_structures = [
                source for source in found if source.entity == "compound" and source.rows["smiles"].count()
            ]
            for source in found:
                start = time.perf_counter()
                if source.entity == "compound":
                    names = resolve(source.rows)
                else:
                    overrides = load_overrides(references).of("context", source.name)
                    names, _ = resolve_contexts(
                        source.rows, dataset_id="report", reference=contexts, overrides=overrides
                    )
                report(source, names, time.perf_counter() - start)
                if source in with_structures:
                    others = [other for other in with_structures if other is not source]
                    compare_routes(source, names, resolve, as_reference(others))
                if arguments.write is not None:
                    arguments.write.mkdir(parents=True, exist_ok=True)
                    lists = pl.col(pl.List(pl.String), pl.List(pl.Int64)).cast(pl.List(pl.String))
                    names.with_columns(lists.list.join("; ")).write_csv(
                        arguments.write / f"{source.name}_{source.entity}.csv"
                    )


if __name__ == "__main__":
    main()
