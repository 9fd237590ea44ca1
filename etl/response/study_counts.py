"""The counts of triples that Herbert et al. print after each step, as data, and what each of them needs.

Taken from the outputs of their preprocessing notebook. What the steps do belongs to ``triples``.
"""

from typing import Final, Literal, NamedTuple

Step = Literal["read", "triples", "models", "drug_list"]

Status = Literal["reproduced", "public", "open"]
"""``reproduced``: this project counted the same in the published files. ``public``: it needs published files
alone, which were not at hand. ``open``: it rests on something that is not published."""

DRUG_LIST: Final = "the authors' list of drugs with a fingerprint, which is not in their repository"
_MODEL_24Q2: Final = "DepMap 24Q2 Model.csv; no other release was tried"
_MODEL: Final = (
    "DepMap Model.csv, probably 24Q2: with it the count of gCSI and the 839 lines of CTRPv2 come out"
)
_CTRPV2: Final = "CTRPv2.0_2015_ctd2_ExpandedDataset"
_GDSC2: Final = "GDSC release 8.5, 27 October 2023"
_GCSI: Final = "gCSI_GRmetrics_v1.3.tsv"


class StudyCount(NamedTuple):
    """Triples that the study has after a step.

    Attributes:
        dataset_id: ``ctrpv2``, ``gdsc2`` or ``gcsi``.
        metric: as in ``triples.METRICS``.
        step: the step.
        n_rows: rows after it, as printed.
        needs: release or table without which another count is right.
        status: whether the count was reproduced.
    """

    dataset_id: str
    metric: str
    step: Step
    n_rows: int
    needs: str
    status: Status


def _counts() -> tuple[StudyCount, ...]:
    counts: list[StudyCount] = []

    def add(dataset: str, metrics: tuple[str, ...], file: str, rows: tuple[int, int, int, int]) -> None:
        is_gcsi = dataset == "gcsi"
        upstream: Status = "reproduced" if is_gcsi else "public"
        models = _MODEL_24Q2 if is_gcsi else _MODEL
        facts: tuple[tuple[Step, str, Status], ...] = (
            ("read", file, upstream),
            ("triples", file, upstream),
            ("models", models, upstream),
            ("drug_list", DRUG_LIST, "open"),
        )
        for metric in metrics:
            counts.extend(
                StudyCount(dataset, metric, step, n_rows, needs, status)
                for (step, needs, status), n_rows in zip(facts, rows, strict=True)
            )

    add("ctrpv2", ("AUC",), _CTRPV2, (395_263, 387_130, 365_321, 365_321))
    add("ctrpv2", ("EC50",), _CTRPV2, (395_263, 282_825, 266_709, 266_709))
    add("gdsc2", ("AUC", "LN_IC50"), _GDSC2, (242_036, 242_036, 234_020, 194_491))
    fitted = ("GR_AOC", "GRmax", "GRinf", "GR_05uM_fit")
    add("gcsi", fitted, _GCSI, (16_688, 16_304, 15_835, 11_198))
    add("gcsi", ("GR50",), _GCSI, (16_688, 10_765, 10_446, 7_635))
    add("gcsi", ("Emax",), _GCSI, (16_688, 16_688, 16_203, 11_470))
    return tuple(counts)


STUDY_COUNTS: Final = _counts()
"""Every count, by dataset, metric and step."""
