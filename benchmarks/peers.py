"""Other programs on the subsets of the specification: whatever of them is installed.

Belongs here: how each program is called on one small study, and what it returns. Does not belong here: how
this project is measured (``differential_expression.py``). Programs under the GPL are called, never read.

    A    3 plates, 426 wells x 978 genes, 110 conditions, log2
    B    3 plates, 192 wells x 2,000 genes, 40 conditions, counts

Every program fits condition + plate and returns all conditions against the controls, where it can.
"""

import contextlib
import importlib.util
import io
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeAlias

import numpy as np
import polars as pl

from benchmarks.simulation import Pools, UnitValues, sample_rows
from benchmarks.workload import ReferenceRow, Shape, units_of
from etl.effects.estimate import estimate_effects

R_SCRIPT = """
args <- commandArgs(TRUE)
suppressMessages(library(limma))
samples <- read.delim(file.path(args[1], "samples.tsv"), stringsAsFactors = TRUE)
y <- as.matrix(read.delim(file.path(args[1], "values.tsv"), header = FALSE))
samples$condition <- relevel(samples$condition, "control")
design <- model.matrix(~ condition + plate, samples)
coefs <- grep("^condition", colnames(design))
run <- function() {
  if (args[2] == "counts") {
    suppressMessages(library(edgeR))
    dge <- DGEList(y)
    dge <- calcNormFactors(dge[filterByExpr(dge, design), , keep.lib.sizes = FALSE])
    fit <- eBayes(lmFit(voom(dge, design), design), robust = TRUE)
  } else {
    fit <- eBayes(lmFit(y, design), trend = TRUE, robust = TRUE)
  }
  lapply(coefs, function(i) topTable(fit, coef = i, number = Inf, sort.by = "none"))
}
seconds <- replicate(3, system.time(tables <- run())[["elapsed"]])
cat(median(seconds), "\\n")
write.table(sapply(tables, function(x) x$logFC), file.path(args[1], "effects.tsv"),
            sep = "\\t", row.names = FALSE, col.names = FALSE)
"""


@dataclass(frozen=True, slots=True)
class Study:
    """A small study.

    Args:
        name: of the subset.
        values: samples x genes, log2 or counts.
        condition: label of each sample, ``control`` for controls.
        plate: label of each sample.
        scale: ``log2`` or ``counts``.
    """

    name: str
    values: np.ndarray
    condition: np.ndarray
    plate: np.ndarray
    scale: str

    @property
    def conditions(self) -> list[str]:
        """Labels of the treated conditions, sorted."""
        return sorted(set(self.condition) - {"control"})

    def design(self) -> np.ndarray:
        """Return ones, the treated conditions in their order, and the plates but for the first."""
        plates = sorted(set(self.plate))[1:]
        columns = [self.condition == label for label in self.conditions]
        columns += [self.plate == label for label in plates]
        return np.column_stack([np.ones(len(self.plate)), *columns]).astype(np.float64)

    def log_counts(self) -> np.ndarray:
        """Return the values on a logarithmic scale; counts as log2 counts per million + 1."""
        if self.scale == "log2":
            return self.values
        per_million = self.values / self.values.sum(axis=1, keepdims=True) * 1e6
        return np.log2(per_million + 1)


Answer: TypeAlias = tuple[float, np.ndarray | None]
"""Seconds, and effects as genes x conditions where the program estimates them."""


def studies() -> list[Study]:
    """Return the subsets A and B."""
    return [
        _study("A", "log2", conditions=110, controls=96, genes=978),
        _study("B", "counts", conditions=40, controls=72, genes=2_000),
    ]


def _study(name: str, scale: str, *, conditions: int, controls: int, genes: int) -> Study:
    shape = Shape(
        name=name,
        scale="counts" if scale == "counts" else "log2",
        contexts=1,
        treated=3 * conditions,
        conditions=conditions,
        controls=controls,
        plates=3,
        genes_stored=genes,
        grouped=ReferenceRow(1, 0, (genes, genes), 1e3, 0.0, 0),
        separate=ReferenceRow(1, 0, (genes, genes), 1e3, 0.0, 0),
    )
    rng = np.random.default_rng(7)
    [unit] = units_of(shape)
    samples = sample_rows(unit, shape, "peers", rng)
    made = UnitValues(unit, shape, samples, Pools(genes, rng), rng)
    values = made.count_matrix() if scale == "counts" else made.log2_block(slice(0, samples.height))
    number = samples["condition"].to_numpy()
    label = np.where(number < 0, "control", np.char.mod("c%04d", number))
    return Study(name, values, label, np.char.mod("p%d", samples["plate_code"].to_numpy()), scale)


def ours(study: Study) -> tuple[float, np.ndarray]:
    """Return the median of five calls of ``estimate_effects``, everything it returns included."""
    seconds, effects = [], None
    for _ in range(6):
        started = time.perf_counter()
        effects = estimate_effects(
            study.values,
            condition=study.condition,
            plate=study.plate,
            is_control=study.condition == "control",
            scale="counts" if study.scale == "counts" else "log2",
        )
        seconds.append(time.perf_counter() - started)
    assert effects is not None
    return float(np.median(seconds[1:])), effects.log2_fold_change.T


def r_limma(study: Study) -> Answer:
    """Call limma (voom for counts) in R, robust, every condition through topTable; files are not timed."""
    with tempfile.TemporaryDirectory(prefix="perturbhouse-benchmark-") as folder:
        samples = pl.DataFrame({"condition": study.condition, "plate": study.plate})
        samples.write_csv(Path(folder, "samples.tsv"), separator="\t")
        pl.DataFrame(study.values.T.astype(np.float64)).write_csv(
            Path(folder, "values.tsv"), separator="\t", include_header=False
        )
        Path(folder, "run.R").write_text(R_SCRIPT)
        done = subprocess.run(
            ["Rscript", str(Path(folder, "run.R")), folder, study.scale],
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        effects = pl.read_csv(Path(folder, "effects.tsv"), separator="\t", has_header=False).to_numpy()
        return float(done.stdout), effects if len(effects) == study.values.shape[1] else None


def inmoose_limma(study: Study) -> Answer:
    """Fit and moderate with inmoose (plain: it has no robust prior and no voom)."""
    from inmoose.limma import eBayes, lmFit  # type: ignore[import-not-found]
    from pandas import DataFrame  # type: ignore[import-untyped] # noqa: TID251 - its arguments are frames

    columns = ["control", *study.conditions, *sorted(set(study.plate))[1:]]
    started = time.perf_counter()
    fit = eBayes(lmFit(DataFrame(study.log_counts().T), DataFrame(study.design(), columns=columns)))
    seconds = time.perf_counter() - started
    effects = np.asarray(fit.coefficients)[:, 1 : len(study.conditions) + 1]
    return seconds, effects


def pydeseq2(study: Study) -> Answer:
    """Fit with pydeseq2 and test every condition."""
    from pandas import DataFrame  # noqa: TID251 - its arguments are frames
    from pydeseq2.dds import DeseqDataSet  # type: ignore[import-not-found]
    from pydeseq2.ds import DeseqStats  # type: ignore[import-not-found]

    names = [f"s{i}" for i in range(len(study.plate))]
    metadata = DataFrame({"condition": study.condition, "plate": study.plate}, index=names)
    counts = DataFrame(study.values, index=names)
    started = time.perf_counter()
    fit = DeseqDataSet(counts=counts, metadata=metadata, design="~plate + condition", quiet=True)
    fit.deseq2()
    effects = []
    for label in study.conditions:
        test = DeseqStats(fit, contrast=["condition", label, "control"], quiet=True)
        test.summary()
        effects.append(test.results_df["log2FoldChange"].to_numpy())
    return time.perf_counter() - started, np.column_stack(effects)


def statsmodels_ols(study: Study) -> Answer:
    """Fit every gene by ordinary least squares; no moderation, counts as log2 counts per million."""
    from statsmodels.api import OLS  # type: ignore[import-untyped]

    design, values = study.design(), study.log_counts()
    effects = []
    started = time.perf_counter()
    for gene in values.T:
        fit = OLS(gene, design).fit()
        effects.append(fit.params[1 : len(study.conditions) + 1])
        fit.pvalues  # noqa: B018 - computed when asked for
    return time.perf_counter() - started, np.array(effects)


def scanpy_t_test(study: Study) -> Answer:
    """Test every condition against the controls with scanpy; it knows no plates."""
    import anndata
    import scanpy

    data = anndata.AnnData(study.log_counts().astype(np.float32), obs={"condition": study.condition})
    data.strings_to_categoricals()
    started = time.perf_counter()
    scanpy.tl.rank_genes_groups(data, "condition", reference="control", method="t-test")
    return time.perf_counter() - started, None


@dataclass(frozen=True, slots=True)
class Peer:
    """A program to compare with.

    Args:
        name: as printed.
        run: what calls it.
        scales: values it can take.
        is_there: whether it is installed.
    """

    name: str
    run: Callable[[Study], Answer]
    scales: tuple[str, ...]
    is_there: bool


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _has_r_limma() -> bool:
    if shutil.which("Rscript") is None:
        return False
    code = "quit(status = !all(sapply(c('limma', 'edgeR', 'statmod'), requireNamespace, quietly = TRUE)))"
    return subprocess.run(["Rscript", "-e", code], capture_output=True, check=False).returncode == 0


def peers() -> list[Peer]:
    """Return all programs, installed or not."""
    both = ("log2", "counts")
    return [
        Peer("R limma (robust; voom for counts)", r_limma, both, _has_r_limma()),
        Peer("inmoose limma (plain)", inmoose_limma, ("log2",), _has("inmoose")),
        Peer("pydeseq2", pydeseq2, ("counts",), _has("pydeseq2")),
        Peer("statsmodels OLS per gene, no moderation", statsmodels_ols, both, _has("statsmodels")),
        Peer("scanpy rank_genes_groups t-test, no plates", scanpy_t_test, both, _has("scanpy")),
    ]


def print_peers(sender: Connection) -> None:
    """Print the time of every installed program beside this project's, in one run; tell when it is done."""
    programs = peers()
    for study in studies():
        n_wells, n_genes = study.values.shape
        print(
            f"\n{study.name}: {n_wells} wells x {n_genes:,} genes, {len(study.conditions)} conditions, ",
            end="",
        )
        print(f"3 plates, {study.scale}; one thread")
        own_seconds, own = ours(study)
        print(f"  {'estimate_effects (robust), all it returns':46}{own_seconds:10.4f} s")
        for peer in programs:
            if study.scale not in peer.scales:
                print(f"  {peer.name:46}    does not take {study.scale}")
                continue
            if not peer.is_there:
                print(f"  {peer.name:46}    not installed")
                continue
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    seconds, effects = peer.run(study)
            except Exception as error:  # noqa: BLE001 - another's program: said, and the next one runs
                print(f"  {peer.name:46}    failed: {type(error).__name__}: {error}")
                continue
            line = f"  {peer.name:46}{seconds:10.4f} s {seconds / own_seconds:9.1f} times ours"
            if effects is not None and study.scale == "log2":  # the models of counts differ
                both = np.isfinite(own) & np.isfinite(effects)
                line += f", effects differ by {np.abs(own - effects)[both].max():.2g} at most"
            print(line)
    sender.send(True)
