"""Closed vocabularies: every value that a coded column may hold, with its meaning.

A vocabulary is a mapping from value to meaning; models take its keys, the table pages print both.
"""

from typing import Final

ASSAYS: Final = {
    "l1000": "Luminex bead array of 978 landmark genes",
    "drugseq": "DRUG-seq: multiplexed 3' RNA sequencing of lysates in wells",
    "rnaseq": "bulk RNA sequencing",
    "targeted_counts": "sequencing of a panel of genes: HTS2, HiMAP-seq",
    "scrna": "single-cell RNA sequencing, pseudobulk profiles",
    "snrna": "single-nucleus RNA sequencing, pseudobulk profiles",
    "viability": "drug-response screen: viability after treatment over a dose series",
}

VALUE_SCALES: Final = {
    "counts": "raw non-negative integer counts (reads or UMIs)",
    "log2": "normalized log2 expression",
    "viability": "fraction of the vehicle control's signal, 1 = untreated",
}

ACCESS: Final = {
    "open": "anonymous download",
    "registration": "download after registration or with a token",
    "manual": "on request or by hand only",
}

SAMPLE_KINDS: Final = {
    "compound": "treated with a compound under study",
    "positive_control": "treated with a compound of known effect; has effects like any other",
    "vehicle": "solvent only: the reference of effects",
    "untreated": "medium only, no solvent: kept, but not a reference of effects",
    "genetic": "genetic perturbation or its vector control: outside this warehouse, counted",
    "biologic": "ligand, antibody or other biologic: outside this warehouse, counted",
    "empty": "no cells or no measurement: outside this warehouse, counted",
}

OUT_OF_SCOPE_KINDS: Final = ("genetic", "biologic", "empty")
"""Sample kinds that this warehouse does not hold; they are counted."""

CONTROL_KINDS: Final = {
    "vehicle": "solvent only: the reference of effects",
    "untreated": "medium only: not a reference of effects",
}

SAMPLE_FLAGS: Final = {
    "dose_missing": "treated, but the publisher gives no dose; the sample belongs to no condition",
    "dose_zero": "treated, but the publisher's dose is zero; the sample belongs to no condition",
    "time_missing": "the publisher gives no treatment time; the sample belongs to no condition",
    "low_quality_reported": "the publisher marks the sample as failed or low quality",
    "low_library": "total count far below the others of its dataset (below a tenth of the median)",
}

MEASUREMENT_FLAGS: Final = {
    "viability_above_3": "viability above 3: outside what growth in the assay allows",
    "viability_below_minus_1": "viability below -1",
    "viability_negative": "viability below 0 after the publisher's background subtraction",
    "low_quality_reported": "the publisher marks the value as failed: kept, but no part of any fit",
}

RESPONSE_FLAGS: Final = {
    "ic50_censored": "the published IC50 stands at the top dose: not reached, true value is higher",
    "ic50_at_lowest_dose": "the published IC50 stands at the lowest tested dose: the true value is lower",
    "ic50_extrapolated_reported": "the published IC50 lies outside the doses that the publisher tested",
    "constant_fit_reported": "the publisher fitted a constant",
    "ec50_extrapolated": "fitted EC50 lies outside the tested doses",
    "ic50_extrapolated": "the fitted curve crosses viability 0.5 outside the tested doses",
    "too_few_points": "fewer than five finite points: not fitted",
    "flat": "the curve is not better than a constant (F-test, p >= 0.05)",
    "rising": "viability rises with dose",
    "non_monotone": "viability rises by more than 0.25 from one dose to a higher one",
    "on_bound": "a fitted parameter stands on its bound",
    "gr_flat_reported": "the publisher calls the growth-rate curve flat; GR50 is not defined",
    "gr50_not_reached_reported": "the growth-rate curve stays above 0.5, so that GR50 is infinite",
    "gr_missing_reported": "the publisher gives no growth-rate metrics",
    "mean_viability_above_3": "the published mean viability is above 3: implausible",
    "fit_not_finite_reported": "a published fit has an infinite value, or an EC50 not above zero: null here",
    "gr_flat": "the growth-rate curve is not better than a constant (F-test, p >= 0.05): no GR50",
    "gr50_not_reached": "the fitted growth-rate curve stays above 0.5, so that GR50 is infinite",
    "gr50_extrapolated": "GR50 lies outside the tested doses",
    "times_pooled": "experiments of several assay times are fitted together",
}

REPLICATE_LEVELS: Final = {
    "replicate": "one curve of one replicate within an experiment, where an experiment has several",
    "experiment": "one curve of one experiment or batch, its replicates together",
    "pooled": "one curve over all experiments and replicates, for every compound and line with measurements",
}

DOSE_RESPONSE_MODELS: Final = {
    "log_logistic_3": "three-parameter log-logistic, upper asymptote 1",
    "log_logistic_4": "four-parameter log-logistic, upper asymptote fitted",
    "none": "not fitted: no points published, or too few",
}

COMPOUND_METHODS: Final = {
    "override": "settled by a person in the overrides table",
    "structure": "parent of the structure the publisher gives",
    "inchikey": "InChIKey the publisher gives",
    "pubchem_cid": "structure of the PubChem CID the publisher gives",
    "cas": "structure of the CAS number the publisher gives",
    "registry_id": "structure of the registry or catalogue id the publisher gives",
    "name": "structure of that name",
    "name_variant": "structure of a weaker form of the name: without parenthesis, salt or stereo prefix",
    "combination": "a name that joins several compounds, each of them resolved",
    "unresolved": "no structure found; the reason stands beside",
}
"""In the order in which they are tried: the first that gives one structure decides, others bear witness."""

COMPOUND_KINDS: Final = {
    "small_molecule": "one active organic compound",
    "peptide": "the structure has at least four alpha-amino acids in a row, joined by amide bonds",
    "combination": "several active compounds together",
    "metal_complex": "a metal belongs to the drug (platinum, gold, iron …), as complex or as ion",
    "inorganic": "no organic component, no such metal",
    "polymer": "a repeat unit or a polymer's name: no single structure",
    "biologic": "protein, peptide hormone, oligonucleotide or vaccine, told by its name",
    "antibody": "antibody or antibody conjugate, told by its name",
    "unknown": "neither structure nor name tells",
}

CONTEXT_METHODS: Final = {
    "override": "settled by a person in an override table",
    "accession": "Cellosaurus or Cell Ontology accession the publisher gives",
    "model_id": "key in another database the publisher gives: DepMap, Sanger, COSMIC, CCLE or LINCS",
    "curated": "the project's curated table",
    "name": "exact name in a reference",
    "synonym": "exact synonym in a reference",
    "stripped_name": "name without case and punctuation, of the right species, unique in the reference",
    "weak_synonym": "misspelling that Cellosaurus lists, or related synonym of the Cell Ontology, unique",
    "unresolved": "no cell line or cell type found; the reason stands beside",
}

CONTEXT_KINDS: Final = {
    "cell_line": "cell line of Cellosaurus",
    "primary_cell": "primary cell type of the Cell Ontology",
    "unresolved": "not known yet",
}

GENE_METHODS: Final = {
    "override": "settled by a person in the overrides table",
    "ensembl_id": "Ensembl gene id the publisher gives, version dropped",
    "retired_ensembl_id": "only current successor of the retired Ensembl gene id the publisher gives",
    "entrez_id": "Entrez gene id the publisher gives",
    "retired_entrez_id": "current gene of the discontinued Entrez id the publisher gives",
    "probe_id": "only gene of the probe set the publisher gives",
    "symbol": "current HGNC symbol",
    "annotation_name": "gene name in an Ensembl or GENCODE annotation, unique",
    "previous_symbol": "previous HGNC symbol, unique",
    "alias_symbol": "HGNC alias symbol, unique",
    "ncbi_synonym": "symbol or synonym of NCBI Gene, unique",
    "restored_symbol": "name that a program had changed: a date of a spreadsheet, dots for hyphens",
    "unresolved": "no gene found; the reason stands beside",
}
"""In the order in which they are tried."""

CONFIDENCES: Final = {
    "high": "identifier or structure, no alternative and nothing that contradicts it",
    "medium": "a name with exactly one candidate, or an identifier that something contradicts",
    "low": "a choice among several candidates, a weaker form of a name, or an unverifiable key",
    "none": "unresolved",
}

REFERENCE_CHANGES: Final = {
    "gained": "unresolved before, resolved after",
    "lost": "resolved before, unresolved after",
    "moved": "resolved to another id",
    "evidence": "the same id, on other evidence or with another confidence",
}

ESTIMABILITY: Final = {
    "estimable": "effect, standard error and p-value are given",
    "no_control": "no vehicle sample of the same context, time and vehicle group",
    "confounded_with_plate": "no chain of plates connects the condition with its vehicle samples",
    "no_residual_df": "no replicates anywhere in the fit unit: the variance cannot be estimated",
    "too_few_replicates": "fewer treated samples than the fit asked for",
    "no_usable_sample": "every sample of the condition failed quality control",
    "no_tested_gene": "no gene of the fit unit passes the count filter, or none varies",
}

REPLICATE_DESIGNS: Final = {
    "grouped": "all samples of a condition have one effect; variances come from all replicates",
    "separate": "every treated sample has an effect of its own; variances come from vehicle samples",
}

CALIBRATION_STATUS: Final = {
    "ok": "held-out vehicle samples were tested",
    "too_few_controls": "no plate holds enough vehicle samples to hold one out, or no variance is left",
    "no_tested_gene": "no gene passes the count filter among vehicle samples, or none varies",
}

CONTROL_SCOPES: Final = {
    "same_plate": "every plate of the condition holds vehicle samples",
    "linked_plates": "some plate without vehicle is compared through conditions it shares with other plates",
}

AGREEMENT_METRICS: Final = {
    "spearman_log2_fold_change": "Spearman correlation of log2 fold changes over shared genes",
    "pearson_log2_fold_change": "Pearson correlation of log2 fold changes over shared genes",
    "cosine_log2_fold_change": "cosine of log2 fold changes over shared genes",
    "spearman_t": "Spearman correlation of moderated t over shared genes",
    "pearson_t": "Pearson correlation of moderated t over shared genes",
    "cosine_t": "cosine of moderated t over shared genes",
    "spearman_significant": "Spearman correlation of log2 fold changes over the significant genes of either "
    "side (adjusted p < 0.05), mean of both",
    "direction_agreement": "share of equal signs over genes significant on both sides (adjusted p < 0.05)",
    "direction_agreement_02": "the same over genes whose absolute log2 fold change exceeds 0.2 on both sides",
    "overlap_50": "share of common genes among the 50 significant ones with the largest absolute effect",
    "overlap_100": "the same of 100 genes",
    "overlap_200": "the same of 200 genes",
    "overlap_n": "the same of as many genes as the side with fewer significant ones has",
    "signed_overlap_50": "share of common genes among the 50 highest and among the 50 lowest t, mean of both",
}

AGREEMENT_BASELINES: Final = {
    "source_peers": "other compounds of its own dataset, same context, dose and time, one by one",
    "target_peers": "other compounds of the other dataset, context, dose and time of its match, one by one",
    "source_centroid": "mean profile of all other compounds of its own dataset, same context, dose and time",
    "target_centroid": "mean profile of all other compounds of the other dataset, as its match was treated",
    "other_contexts": "its own compound in other contexts of the other dataset, same time, nearest dose",
    "both_different": "other compounds in these other contexts, same time and dose",
}

MATCH_SIDES: Final = {
    "left": "the left condition of the match",
    "right": "the right condition of the match",
}

SUMMARY_SIDES: Final = {
    "both": "mean of both sides, or of the one that has a value",
    **MATCH_SIDES,
}

SUMMARY_BASELINES: Final = {
    "none": "no baseline: the observed values",
    **AGREEMENT_BASELINES,
    "chance": "what all orders of the candidates, equally likely, would give; of retrieval only",
}

RETRIEVAL_SIMILARITIES: Final = {
    "cosine_log2_fold_change": "cosine of log2 fold changes",
    "spearman_log2_fold_change": "Spearman correlation of log2 fold changes",
    "cosine_t": "cosine of moderated t",
    "spearman_t": "Spearman correlation of moderated t",
}

RETRIEVAL_POSITIVES: Final = {
    "matched": "the conditions matched with the query (mutually nearest dose); of replicates, the others of "
    "its condition",
    "compound": "all conditions (of replicates, samples) of its compound, at any dose",
}

SUMMARY_METRICS: Final = {
    **AGREEMENT_METRICS,
    **{
        f"{measure}_{similarity}": f"{words} by {how}, positives: what is matched with the query"
        for measure, words in (
            ("retrieval_rank", "normalized rank of the best positive"),
            ("retrieval_first", "share of queries with a positive at rank 1"),
            ("retrieval_auroc", "area under the ROC curve of retrieval"),
        )
        for similarity, how in RETRIEVAL_SIMILARITIES.items()
    },
}

AGREEMENT_QUANTITIES: Final = {
    "observed": "value of the metric",
    "baseline": "value of the baseline, wherever it has one",
    "delta": "observed minus baseline, only where both have a value: not the difference of the other means",
    "percentile": "rank of the observed value among its peers, 0 to 1",
}

INTERVAL_STATUS: Final = {
    "bca": "bias-corrected and accelerated bootstrap over compounds",
    "percentile_fallback": "percentiles of the bootstrap: too few compounds for the acceleration",
    "degenerate": "all compounds have the same value",
    "not_estimable": "fewer than two compounds with a value",
}

AGREEMENT_STATUS: Final = {
    "ok": "value given",
    "too_few_genes": "fewer than two shared genes",
    "constant_profile": "one side does not vary",
    "no_shared_significant_gene": "no gene is significant on both sides",
    "too_few_significant_genes": "a side has fewer significant genes than the metric needs",
}

SCREEN_METRICS: Final = {
    "auc_shared_window": "mean fitted viability over the doses that both curves tested: low = sensitive",
    "auc_tested": "mean fitted viability over each screen's own tested doses",
    "auc_global": "mean fitted viability between 0.0001 and 100 µM, extrapolated",
    "log10_ic50": "log10 of the dose (µM) where the fitted curve crosses viability 0.5, inside tested doses",
    "log10_ec50": "log10 of the dose (µM) of half the fitted drop, inside tested doses, no flat curves",
    "mean_viability_reported": "published area as a mean viability over the publisher's own window",
}

SCREEN_SCOPES: Final = {
    "compound": "one compound over the lines of both screens",
    "pooled": "all pairs of a line and a compound together: flatters, because compounds differ in potency",
    "centred": "the same after each compound's mean is subtracted on both sides",
    "median_of_compounds": "median over the compounds with enough lines",
}

COMPOUND_KEYS: Final = {
    "parent": "equal compound_id: InChIKey of the standardized parent",
    "skeleton": "equal first block of that InChIKey: stereochemistry and isotopes ignored",
}

SCREEN_AGREEMENT_STATUS: Final = {
    "ok": "correlations are given, with intervals unless one is exactly 1 or -1",
    "too_few_lines": "fewer than four pairs of values: no interval, and no correlation below three",
    "constant": "one side does not vary: no correlation",
    "too_few_compounds": "fewer than five compounds to resample: no interval",
}

CORRELATION_INTERVALS: Final = {
    "fisher_z": "Fisher's z, for ranks with the variance of Bonett and Wright",
    "compound_bootstrap": "resampling whole compounds; with few of them (below about 40) too narrow",
    "none": "no interval is given",
}

SCREEN_ALARMS: Final = {
    "unit_mismatch_suspected": "doses apart by about 10^3, 10^6 or 10^9, logarithms of different base, or a "
    "mean viability that is no fraction",
    "direction_mixed_suspected": "the correlation is negative: viability and inhibition may be mixed up",
    "same_rows_suspected": "correlation above 0.98: the two screens may share rows",
    "below_sanity_band": "pooled correlation below what published comparisons of such screens let expect",
}

RECONCILED_METRICS: Final = {
    "mean_viability": "auc against mean_viability_reported; the windows may differ",
    "log10_ec50": "log10 of ec50_um (µM) against the published EC50",
    "log10_ic50": "log10 of ic50_um (µM) against the published IC50, both inside the tested doses",
    "slope": "Hill slope of viability",
    "e_inf": "viability at infinite dose",
    "e_max": "viability at the highest tested dose",
    "r_squared": "coefficient of determination",
    "log10_gec50": "log10 of gec50_um (µM) against the published EC50 of a growth-rate curve",
    "log10_gr50": "log10 of gr50_um (µM)",
    "gr_slope": "Hill slope of the growth rate",
    "gr_inf": "growth rate at infinite dose",
    "gr_max": "growth rate at the highest tested doses",
    "gr_aoc": "area over the growth-rate curve",
}

RECONCILIATION_STATUS: Final = {
    "ok": "all values are given",
    "too_few_curves": "fewer than three curves with both values: no correlation",
    "constant": "one side does not vary: no correlation",
}
