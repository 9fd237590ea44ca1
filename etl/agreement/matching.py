"""Which conditions of two datasets correspond: same compound, context and time, mutually nearest dose.

Here: the matching rule and who may take part in it. Not here: canonical doses and identifiers, which
``etl.harmonize`` settles before a condition exists, and anything about the measured effects.

The rule is that of the reference paper, applied to conditions instead of wells; ``docs/methods/agreement.md``
lists every difference and its reason.
"""

import math
from typing import Final

import polars as pl

from etl.accounting import RowAccount
from etl.errors import BadInputError
from schemas.mart.condition_match import CONDITION_MATCH

RULE_VERSION = "mutual_nearest_dose_v1"
"""Names the rule in stored matches; it changes whenever the same conditions could give other matches."""

DOSE_TOLERANCE = 1e-12
"""Slack on |Δlog10 dose| when distances are compared, and relative slack on a fold; it absorbs rounding."""

MAX_FOLD = 10.0
"""Largest ratio of two doses that are still the same treatment."""

MIN_COMPOUNDS = 10
"""Fewest matching compounds of a pair of datasets, context and time: the rule of the reference paper."""

UNRESOLVED_PREFIX = "unresolved:"
"""Opens every identifier that stands for a name nobody could resolve; such a name matches nothing."""

COMPOUND_IDENTITIES: Final = {
    "parent": "compound_id",
    "skeleton": "inchikey_skeleton",
    "pubchem_cid": "pubchem_cid",
}
"""What may make two compounds one, and the column of ``core/compound`` that holds it."""

KEY = ("context_id", "compound_id", "time_h")
ID_COLUMNS = ("dataset_id", "context_id", "compound_id")
QUANTITY_COLUMNS = ("dose_um", "time_h")


def match(
    conditions: pl.DataFrame | pl.LazyFrame, *, max_fold: float = MAX_FOLD, min_compounds: int = MIN_COMPOUNDS
) -> pl.DataFrame:
    """Pair conditions of different datasets: same compound, context and time, mutually nearest dose.

    Two eligible conditions (see :func:`eligible`) a and b of different datasets match when

    1. compound, context and time are equal; time exactly, without tolerance;
    2. b is a nearest dose of a among that key's conditions in b's dataset, and a is a nearest dose of b
       likewise. Distance is |log10 a − log10 b|, distances within 1e-12 are tied, and all ties are kept;
    3. fold = max(a/b, b/a) ≤ ``max_fold``, inclusive up to rounding. The threshold comes after the search: it
       removes pairs and never makes a farther dose the nearest;
    4. at least ``min_compounds`` distinct compounds match in the same dataset pair, context and time, counted
       after the threshold.

    Ten compounds in step 4 is the rule of the reference paper.

    Args:
        conditions: one row per condition: ``dataset_id``, ``context_id``, ``compound_id`` (String),
            ``dose_um`` (canonical, µM) and ``time_h`` (h) as Float64 or integers, and optionally
            ``condition_id`` (Int64). Without ``condition_id``, rows equal in all five columns are one
            condition. Other columns are ignored, and the order of rows does not matter. What ``compound_id``
            holds makes two compounds one: ``identified_by`` puts skeletons or PubChem CIDs there.
        max_fold: largest kept ratio of the two doses, at least 1; 1 keeps equal doses only.
        min_compounds: fewest distinct matching compounds of a kept dataset pair × context × time.

    Returns:
        One row per matched pair, sorted by all its keys: ``left_dataset_id`` < ``right_dataset_id``,
        ``left_condition_id`` and ``right_condition_id`` where the input has ids, ``context_id``,
        ``compound_id``, ``time_h``, ``left_dose_um``, ``right_dose_um``, ``fold`` (≥ 1) and ``is_exact``
        (fold ≤ 1 + 1e-12).

    Raises:
        BadInputError: a column is missing or has the wrong type, or a ``condition_id`` names two conditions.
        ValueError: ``max_fold`` or ``min_compounds`` is below 1.

    >>> conditions = pl.DataFrame({
    ...     "dataset_id": ["a", "a", "b", "b"],
    ...     "context_id": ["CVCL_0023"] * 4,
    ...     "compound_id": ["BSYNRYMUTXBXSQ-UHFFFAOYSA-N"] * 4,
    ...     "dose_um": [1.0, 10.0, 0.1, 20.0],
    ...     "time_h": [24.0] * 4,
    ... })
    >>> match(conditions, min_compounds=1).select("left_dose_um", "right_dose_um", "fold").rows()
    [(1.0, 0.1, 10.0), (10.0, 20.0, 2.0)]
    >>> match(conditions, max_fold=3, min_compounds=1).select("left_dose_um", "right_dose_um", "fold").rows()
    [(10.0, 20.0, 2.0)]
    """
    if math.isnan(max_fold) or max_fold < 1:
        message = f"max_fold must be at least 1, got {max_fold}"
        raise ValueError(message)
    if min_compounds < 1:
        message = f"min_compounds must be at least 1, got {min_compounds}"
        raise ValueError(message)

    rows = eligible(conditions).unique().collect()
    pairs = _nearest_pairs(rows.select(*ID_COLUMNS, *QUANTITY_COLUMNS).unique())
    matches = (
        # Two decimals exactly tenfold apart may divide to 10.000000000000002, hence the relative slack.
        pairs.filter(pl.col("fold") <= max_fold * (1 + DOSE_TOLERANCE)).filter(
            pl.col("compound_id")
            .n_unique()
            .over("left_dataset_id", "right_dataset_id", "context_id", "time_h")
            >= min_compounds
        )
    )
    datasets = ["left_dataset_id", "right_dataset_id"]
    doses = ["left_dose_um", "right_dose_um"]
    ids = []
    if "condition_id" in rows.columns:
        _require_unique_ids(rows)
        ids = ["left_condition_id", "right_condition_id"]
        for side in ("left", "right"):
            named = rows.rename(
                {name: f"{side}_{name}" for name in ("dataset_id", "dose_um", "condition_id")}
            )
            matches = matches.join(named, on=[f"{side}_dataset_id", *KEY, f"{side}_dose_um"])
    return matches.select(
        *datasets, *ids, *KEY, *doses, "fold", is_exact=pl.col("fold") <= 1 + DOSE_TOLERANCE
    ).sort(*datasets, *KEY, *doses, *ids)


def match_conditions(conditions: pl.DataFrame) -> tuple[pl.DataFrame, RowAccount]:
    """Return the rows of ``mart/condition_match``, and the account of the conditions that may take part.

    Only estimable conditions are matched: one without effects cannot agree with anything, and must not keep
    a condition that has effects from its partner.

    Args:
        conditions: all rows of ``mart/condition``.
    """
    estimable = conditions.filter("is_estimable")
    n_eligible = eligible(estimable).collect().height
    n_treated = conditions.select("condition_id", "n_treated")
    matches = match(estimable, min_compounds=1).with_columns(
        n_compounds=pl.col("compound_id")
        .n_unique()
        .over("left_dataset_id", "right_dataset_id", "context_id", "time_h")
        .cast(pl.Int32),
        rule_version=pl.lit(RULE_VERSION),
    )
    for side in ("left", "right"):
        of_side = n_treated.rename({"condition_id": f"{side}_condition_id", "n_treated": f"{side}_n_treated"})
        matches = matches.join(of_side, on=f"{side}_condition_id", how="left", maintain_order="left")
    account = RowAccount(
        n_in=conditions.height,
        n_out=n_eligible,
        dropped={
            reason: n
            for reason, n in {
                "not estimable": conditions.height - estimable.height,
                "compound or context unresolved": estimable.height - n_eligible,
            }.items()
            if n
        },
        noted={"matched pairs": matches.height},
        unit="conditions",
    )
    return matches.select(list(CONDITION_MATCH.polars_schema)), account


def identified_by(conditions: pl.DataFrame, compounds: pl.DataFrame, identity: str) -> pl.DataFrame:
    """Return conditions with another identity of their compound as ``compound_id``, to be matched by it.

    A compound without that identity has null, and matches nothing.

    Args:
        conditions: with ``compound_id``.
        compounds: rows of ``core/compound``.
        identity: of ``COMPOUND_IDENTITIES``: ``parent`` leaves all as it is; ``skeleton`` makes stereoisomers
            and isotopes one; ``pubchem_cid`` follows PubChem.

    Raises:
        BadInputError: there is no such identity.

    >>> compounds = pl.DataFrame({"compound_id": ["X-A-N", "X-B-N"], "inchikey_skeleton": ["X", "X"]})
    >>> conditions = pl.DataFrame({"compound_id": ["X-B-N", "unknown", "X-A-N"]})
    >>> identified_by(conditions, compounds, "skeleton")["compound_id"].to_list()
    ['X', None, 'X']
    """
    if identity not in COMPOUND_IDENTITIES:
        rule = f"no identity {identity!r}; there are {', '.join(COMPOUND_IDENTITIES)}"
        raise BadInputError(rule)
    column = COMPOUND_IDENTITIES[identity]
    if column == "compound_id":
        return conditions
    of_compound = dict(
        compounds.select("compound_id", pl.col(column).cast(pl.String).alias("to")).iter_rows()
    )
    return conditions.with_columns(
        pl.col("compound_id").replace_strict(of_compound, default=None, return_dtype=pl.String)
    )


def eligible(conditions: pl.DataFrame | pl.LazyFrame) -> pl.LazyFrame:
    """Return the conditions that may be matched, with the columns :func:`match` uses and no others.

    Not eligible are rows with a null or empty identifier (a control has no ``compound_id``), an identifier of
    compound or context that starts with ``unresolved:``, a null ``condition_id`` where that column exists, a
    time that is null or not finite, or a dose that is null, not finite, zero or negative. The caller reports
    the difference of the row counts before and after as left out.

    Args:
        conditions: as for :func:`match`.

    Raises:
        BadInputError: a column is missing or has the wrong type.

    >>> eligible(pl.DataFrame({
    ...     "dataset_id": ["a", "a"], "context_id": ["CVCL_0023", "unresolved:a:tumour"],
    ...     "compound_id": ["X", "X"], "dose_um": [1.0, 1.0], "time_h": [24, 24],
    ... })).collect()["context_id"].to_list()
    ['CVCL_0023']
    """
    frame = conditions.lazy()
    schema = frame.collect_schema()
    for column in (*ID_COLUMNS, *QUANTITY_COLUMNS):
        if column not in schema:
            raise BadInputError("conditions lack this column", column=column)
    for column in ID_COLUMNS:
        if schema[column] != pl.String:
            rule = f"identifiers are String, found {schema[column]}"
            raise BadInputError(rule, column=column)
    for column in QUANTITY_COLUMNS:
        # Float32 would widen 3.33 to 3.32999992, and equal doses and times would no longer be equal.
        if schema[column] != pl.Float64 and not schema[column].is_integer():
            rule = f"doses and times are Float64, found {schema[column]}"
            raise BadInputError(rule, column=column)
    has_ids = "condition_id" in schema
    if has_ids and schema["condition_id"] != pl.Int64:
        rule = f"condition ids are Int64, found {schema['condition_id']}"
        raise BadInputError(rule, column="condition_id")

    columns = [*ID_COLUMNS, *QUANTITY_COLUMNS, *(["condition_id"] if has_ids else [])]
    # Comparisons with null are null, and filter keeps only true: nulls need no rule of their own.
    rules = [pl.col(column) != "" for column in ID_COLUMNS]
    rules += [~pl.col(column).str.starts_with(UNRESOLVED_PREFIX) for column in ("context_id", "compound_id")]
    rules += [pl.col(column).is_finite() for column in QUANTITY_COLUMNS]
    rules += [pl.col("dose_um") > 0]
    if has_ids:
        rules += [pl.col("condition_id").is_not_null()]
    return frame.select(columns).with_columns(pl.col(QUANTITY_COLUMNS).cast(pl.Float64)).filter(*rules)


def _nearest_pairs(doses: pl.DataFrame) -> pl.DataFrame:
    """Return the pairs of mutually nearest doses with their fold; input rows are distinct (ids, dose, time).

    Conditions of one dose are nearest to the same doses, so they need not be searched one by one.
    """
    # Most keys occur in one dataset only; without them the self-join stays small.
    shared = doses.filter(pl.col("dataset_id").n_unique().over(KEY) > 1).lazy()
    left = shared.rename({"dataset_id": "left_dataset_id", "dose_um": "left_dose_um"})
    right = shared.rename({"dataset_id": "right_dataset_id", "dose_um": "right_dose_um"})
    left_dose, right_dose = pl.col("left_dose_um"), pl.col("right_dose_um")
    candidates = (
        left.join(right, on=KEY, how="inner")
        .filter(pl.col("left_dataset_id") < pl.col("right_dataset_id"))
        .with_columns(
            distance=(left_dose.log10() - right_dose.log10()).abs(),
            fold=pl.max_horizontal(left_dose / right_dose, right_dose / left_dose),
        )
        .collect()
    )
    nearest_of_left = (
        pl.col("distance").min().over("left_dataset_id", "right_dataset_id", *KEY, "left_dose_um")
    )
    nearest_of_right = (
        pl.col("distance").min().over("left_dataset_id", "right_dataset_id", *KEY, "right_dose_um")
    )
    return candidates.filter(
        pl.col("distance") <= nearest_of_left + DOSE_TOLERANCE,
        pl.col("distance") <= nearest_of_right + DOSE_TOLERANCE,
    ).drop("distance")


def _require_unique_ids(rows: pl.DataFrame) -> None:
    """Raise if a condition id stands for two different conditions."""
    twice = rows.filter(pl.col("condition_id").is_duplicated())["condition_id"]
    if len(twice):
        rule = f"{twice.n_unique()} ids name more than one condition, the smallest is {twice.sort()[0]}"
        raise BadInputError(rule, column="condition_id")
