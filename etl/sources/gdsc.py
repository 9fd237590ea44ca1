"""GDSC: what the two screens of the Genomics of Drug Sensitivity in Cancer share, release 8.5 (October 2023).

Raw layout of a screen, ``GDSC1`` or ``GDSC2``:

* ``<screen>_fitted_dose_response_*.xlsx``: one row per line, drug and top dose: the published fits;
* ``<screen>_public_raw_data_*.csv`` (optional): the intensity of every well, see ``gdsc_wells``;
* ``screened_compounds_rel_*.csv`` (optional): names and targets of the drugs of both screens.

Quirks: a name may belong to two ``DRUG_ID``, so the id is the key; one id may have been screened in two
libraries with different top doses, so the top dose is part of the key of a fit; names end in blanks. ``AUC``
is the mean fitted viability over the tested range of log doses.

Here: the adapter, the published fits and the names. Not here: wells and their scale, ids, dose units.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.flags import flag_list
from etl.formats import delimited, xlsx
from etl.formats.delimited import TextTable
from etl.sources import gdsc_wells
from etl.sources.base import RemoteFile, SourceSpec
from etl.sources.plate_normalization import Average
from schemas.reported import ReportedCompound, ReportedContext, ReportedCurve
from schemas.table import match_to_model

STORE: Final = "https://cog.sanger.ac.uk/cancerrxgene/GDSC_release8.5"
DATE: Final = "27Oct23"

KEY: Final = ("cell_line_name", "drug_id", "max_conc")
FITTED: Final = (
    *KEY,
    "dataset",
    "cosmic_id",
    "sanger_model_id",
    "tcga_desc",
    "drug_name",
    "putative_target",
    "min_conc",
    "ln_ic50",
    "auc",
)
SCREENED: Final = ("DRUG_ID", "DRUG_NAME", "TARGET")
MISSING: Final = r"^\s*(NA)?\s*$"
UNCLASSIFIED: Final = "UNCLASSIFIED"
"""``TCGA_DESC`` of a line that has no class of TCGA."""

AUC_KIND = "mean fitted viability over the tested range of log doses: low = sensitive"
LARGEST_LN: Final = 700.0
"""Beyond it exp has no finite double."""


def spec_of(screen: str, *, title: str, readout: str) -> SourceSpec:
    """Return the facts of a screen.

    Args:
        screen: as the files are named, ``GDSC1`` or ``GDSC2``.
        title: of the dataset.
        readout: what was measured.
    """
    return SourceSpec(
        dataset_id=screen.lower(),
        title=title,
        assay="viability",
        readout=readout,
        value_scale="viability",
        files=(
            RemoteFile(
                role="fitted",
                pattern=f"**/{screen}_fitted_dose_response_*.xlsx",
                url=f"{STORE}/{screen}_fitted_dose_response_{DATE}.xlsx",
            ),
            RemoteFile(
                role="wells",
                pattern=f"**/{screen}_public_raw_data_*.csv",
                url=f"{STORE}/{screen}_public_raw_data_{DATE}.csv",
                is_required=False,
            ),
            RemoteFile(
                role="compounds",
                pattern="**/screened_compounds_rel_*.csv",
                url=f"{STORE}/screened_compounds_rel_8.5.csv",
                is_required=False,
            ),
        ),
        license="Wellcome Sanger Institute terms: internal research and education, no redistribution, no "
        "commercial use (not verified)",
        is_redistributable=False,
        access="open",
        release="8.5 (2023-10-27)",
        doi="10.1093/nar/gks1111",
        url="https://www.cancerrxgene.org",
    )


class Gdsc:
    """Adapter of one of the screens.

    Args:
        screen: as the files are named.
        spec: its facts.
        negative_control: tag of the wells that are viability 1.
        blank: how the blanks of a plate are averaged.
        control: how its negative controls are averaged.
        clip: bounds of viability; None leaves all values as they are.
    """

    def __init__(
        self,
        screen: str,
        spec: SourceSpec,
        *,
        negative_control: str,
        blank: Average = "mean",
        control: Average = "mean",
        clip: tuple[float, float] | None = None,
    ) -> None:
        self.screen, self.spec = screen, spec
        self.negative_control = negative_control
        self.blank, self.control, self.clip = blank, control, clip

    def compounds(self, raw: Path) -> pl.LazyFrame:
        """Return one row per ``DRUG_ID`` of fits and wells, with the name that the fits give it.

        A drug of wells alone has name and target of the table of compounds, where that is there.

        Raises:
            BadInputError: as ``curves`` and ``read_names``, or an id with two names.
        """
        fitted = self._fitted(raw)
        names = fitted.distinct("drug_id", "drug_name")
        names.require_unique("drug_id")
        targets = fitted.rows.group_by("drug_id").agg(targets=pl.col("putative_target").drop_nulls().first())
        named = names.rows.select("drug_id", name="drug_name").join(targets, on="drug_id", how="left")
        found = self.spec.locate(raw)
        if "wells" in found:
            drugs, _ = gdsc_wells.read_names(found["wells"], dataset_id=self.spec.dataset_id)
            others = drugs.select(drug_id="DRUG_ID").join(named, on="drug_id", how="anti")
            named = pl.concat([named, others.join(self._screened(raw), on="drug_id", how="left")])
        rows = named.sort(pl.col("drug_id").str.len_chars(), "drug_id").rename(
            {"drug_id": "compound_reported"}
        )
        return match_to_model(rows, ReportedCompound)

    def contexts(self, raw: Path) -> pl.LazyFrame:
        """Return one row per line of fits and wells: its Sanger model, else its COSMIC id, and its class.

        Raises:
            BadInputError: as ``curves`` and ``read_names``, or a line with two models or two COSMIC ids.
        """
        fitted = self._fitted(raw)
        lines = fitted.distinct("cell_line_name", "sanger_model_id", "cosmic_id").rows
        columns = ("row", "cell_line_name", "sanger_model_id", "cosmic_id")
        tables = [fitted.with_rows(lines.select(columns))]
        if (path := self.spec.locate(raw).get("wells")) is not None:
            _, measured = gdsc_wells.read_names(path, dataset_id=self.spec.dataset_id)
            measured = measured.rename({name.upper(): name for name in columns[1:]})
            tables.append(TextTable(measured.select(columns), self.spec.dataset_id, path))
        both = pl.concat([_with_whole_ids(table).rows.cast({"row": pl.UInt32}) for table in tables])
        for column in ("sanger_model_id", "cosmic_id"):
            stated = tables[-1].with_rows(both.drop_nulls(column)).distinct("cell_line_name", column)
            stated.require_unique("cell_line_name")
        tcga = pl.col("tcga_desc").filter(pl.col("tcga_desc") != UNCLASSIFIED).unique()
        tissues = fitted.rows.group_by("cell_line_name").agg(
            tissue=pl.when(tcga.len() == 1).then(tcga.first())
        )
        rows = (
            both.group_by("cell_line_name")
            .agg(pl.col("sanger_model_id", "cosmic_id").drop_nulls().first())
            .join(tissues, on="cell_line_name", how="left")
            .sort("cell_line_name")
            .select(
                "tissue",
                context_reported="cell_line_name",
                name="cell_line_name",
                model_id=pl.coalesce("sanger_model_id", "cosmic_id"),
            )
        )
        return match_to_model(rows, ReportedContext)

    def measurements(self, raw: Path) -> Iterator[pl.DataFrame]:
        """Yield one row per well with one drug alone, or none where the wells are not there.

        Viability is not clipped. ``account`` says what becomes of the other rows.

        Raises:
            BadInputError: as ``gdsc_wells.read_wells``.
        """
        wells = self.wells(raw)
        if wells is not None:
            yield from wells.blocks()

    def account(self, raw: Path) -> RowAccount:
        """Return the account of the rows of wells: measurements, and why the others are none.

        Raises:
            BadInputError: as ``measurements``.
        """
        wells = self.wells(raw)
        return RowAccount(0, 0, unit="rows of wells") if wells is None else wells.account

    def wells(self, raw: Path) -> gdsc_wells.Wells | None:
        """Return the wells on the scale of their plates; None where the file is not there.

        Raises:
            BadInputError: as ``gdsc_wells.read_wells``.
        """
        path = self.spec.locate(raw).get("wells")
        if path is None:
            return None
        return gdsc_wells.read_wells(
            path,
            dataset_id=self.spec.dataset_id,
            negative_control=self.negative_control,
            blank=self.blank,
            control=self.control,
            clip=self.clip,
        )

    def curves(self, raw: Path) -> pl.LazyFrame:
        """Return one row per published fit; its experiment is the top dose.

        An IC50 may lie far outside the tested doses: it is as published, with the flag
        ``ic50_extrapolated_reported``.

        Raises:
            BadInputError: no workbook with this table, a missing column, a row of another screen or without
                line, drug, doses, a value that is no number, an area that is no mean viability, or a key that
                is repeated.
        """
        table = self._fitted(raw).with_numbers("max_conc", "min_conc", "ln_ic50", "auc")
        low, top, ln_ic50, auc = (pl.col(name) for name in ("min_conc", "max_conc", "ln_ic50", "auc"))
        table.require(top > 0, "max_conc", "a dose that is not positive")
        table.require((low > 0) & (low <= top), "min_conc", "a lowest dose that is not below the highest")
        table.require(
            ln_ic50.is_null() | (ln_ic50.abs() < LARGEST_LN), "ln_ic50", "not a logarithm of a dose"
        )
        table.require(auc.is_null() | auc.is_between(0, 1), "auc", "not within 0 and 1")
        table = table.with_rows(
            table.rows.with_columns(experiment=gdsc_wells.experiment(table.rows["max_conc"]))
        )
        table.require_unique("cell_line_name", "drug_id", "experiment")
        rows = table.rows.select(
            context_reported="cell_line_name",
            compound_reported="drug_id",
            experiment="experiment",
            replicate_level=pl.lit("experiment"),
            min_dose_um=low,
            max_dose_um=top,
            ic50_um=ln_ic50.exp(),
            auc=auc,
            auc_kind=pl.when(auc.is_not_null()).then(pl.lit(AUC_KIND)),
            mean_viability=auc,
            flags=flag_list({"ic50_extrapolated_reported": ~ln_ic50.exp().is_between(low, top)}),
        )
        return match_to_model(rows, ReportedCurve)

    def _fitted(self, raw: Path) -> TextTable:
        """Return the published fits as text, ids as whole numbers, names without outer blanks."""
        table = xlsx.read_table(
            self.spec.locate(raw)["fitted"],
            FITTED,
            dataset_id=self.spec.dataset_id,
            header="^drug_id$",
            missing=MISSING,
        )
        texts = pl.col("cell_line_name", "drug_id", "drug_name", "putative_target", "tcga_desc")
        table = table.with_rows(table.rows.select("row", *FITTED).with_columns(texts.str.strip_chars()))
        table.require_present(*KEY, "min_conc", "drug_name")
        table.require(pl.col("dataset") == self.screen, "dataset", f"not {self.screen}")
        return table

    def _screened(self, raw: Path) -> pl.DataFrame:
        """Return names and targets of the table of compounds: drug_id, name, targets."""
        path = self.spec.locate(raw).get("compounds")
        if path is None:
            return pl.DataFrame(schema=dict.fromkeys(("drug_id", "name", "targets"), pl.String))
        table = delimited.read(
            path, SCREENED, dataset_id=self.spec.dataset_id, separator=",", missing=MISSING, is_quoted=True
        )
        table.require_unique("DRUG_ID")
        stripped = {
            name: pl.col(column).str.strip_chars()
            for name, column in zip(("drug_id", "name", "targets"), SCREENED, strict=True)
        }
        return table.rows.select(**stripped)


def _with_whole_ids(table: TextTable) -> TextTable:
    """Return COSMIC ids without the decimal point that a spreadsheet may have given them."""
    return table.with_rows(table.rows.with_columns(pl.col("cosmic_id").str.replace(r"\.0+$", "")))
