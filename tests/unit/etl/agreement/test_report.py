"""The page about agreement: what it shows, what it says where there is nothing, and that it needs nothing."""

import re
from html.parser import HTMLParser

import polars as pl
import pytest

from etl.agreement.report import BASELINE_LABELS, agreement_report
from schemas import TABLES
from schemas.vocabularies import AGREEMENT_BASELINES, INTERVAL_STATUS, SUMMARY_METRICS

SPEARMAN = "spearman_log2_fold_change"
TAMED = "&lt;b&gt;&amp;"
NO_ROWS = "fewer than 10 common compounds in every context and time"


def rows(table: str, *given: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(given), schema=TABLES[f"mart/{table}"].polars_schema)


def mean(value: float | None, metric: str = SPEARMAN, **changed: object) -> dict[str, object]:
    known = value is not None
    return {
        "left_dataset_id": "a",
        "right_dataset_id": "b",
        "context_id": "",
        "max_fold": 10.0,
        "metric": metric,
        "baseline": "none",
        "side": "both",
        "quantity": "observed",
        "mean": value,
        "ci_low": value - 0.1 if value is not None else None,
        "ci_high": value + 0.1 if value is not None else None,
        "ci_status": "bca" if known else "not_estimable",
        "mean_by_wells": value,
        "n_rows": 12,
        "n_finite": 12 if known else 0,
        "n_compounds": 11 if known else 0,
        "n_contexts": 1,
        "n_matches": 13,
    } | changed


def delta(value: float | None, baseline: str, **changed: object) -> dict[str, object]:
    return mean(value, baseline=baseline, quantity="delta", **changed)


def treated(n_compounds: int, percentiles: list[float | None]) -> tuple[pl.DataFrame, ...]:
    """Matches of compounds C000, C001, …, with a score and the percentile of each on the left side."""
    ids = [
        {
            "left_condition_id": n,
            "right_condition_id": -n,
            "left_dataset_id": "a",
            "right_dataset_id": "b",
        }
        for n in range(1, len(percentiles) + 1)
    ]
    compounds = [f"C{n:03}" for n in range(len(percentiles))]
    matches = [
        one
        | {"context_id": "L1", "compound_id": compound, "time_h": 24.0, "left_dose_um": 1.0}
        | {"right_dose_um": 1.0, "fold": 1.0, "is_exact": True, "n_compounds": n_compounds}
        | {"left_n_treated": 2, "right_n_treated": 2, "rule_version": "v"}
        for one, compound in zip(ids, compounds, strict=True)
    ]
    scores = [
        one
        | {"context_id": "L1", "compound_id": compound, "metric": metric, "observed": value, "n_genes": 9}
        | {"status": "ok"}
        for one, compound in zip(ids, compounds, strict=True)
        for metric, value in ((SPEARMAN, 0.625), ("direction_agreement", 0.875))
    ]
    peers = [
        one
        | {"metric": SPEARMAN, "baseline": "target_peers", "side": side, "n_peers": 9, "percentile": value}
        for one, percentile in zip(ids, percentiles, strict=True)
        for side, value in (("left", percentile), ("right", percentile and percentile / 2))
    ]
    return rows("agreement", *scores), rows("agreement_baseline", *peers), rows("condition_match", *matches)


def page(*means: dict[str, object], of_matches: tuple[pl.DataFrame, ...] | None = None) -> str:
    agreement, baseline, matches = of_matches or treated(12, [])
    return agreement_report(
        rows("agreement_summary", *means),
        agreement,
        baseline,
        matches,
        compounds={"C000": "<b>&", "C001": "erlotinib"},
        contexts={"L1": "<b>&"},
        made_on="1 <January>",
    )


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


class Balance(HTMLParser):
    """Says whether every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, *_: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, *_: object) -> None:
        pass


@pytest.fixture
def full() -> str:
    means = [
        mean(0.5),
        mean(0.25, context_id="L1"),
        mean(None, "overlap_50"),
        *(delta(0.1, baseline) for baseline in BASELINE_LABELS),
        mean(0.3, left_dataset_id="b", max_fold=1.0),
        delta(-0.2, "source_peers", left_dataset_id="b", max_fold=1.0),
    ]
    return page(*means, of_matches=treated(12, [0.5, None]))


def test_the_page_has_its_figures_and_sections(full: str) -> None:
    assert full.count("<svg") == 2
    assert full.count("<details ") == 1
    assert "0.500 [0.400, 0.600] , 13 matches" in text_of(full)
    for words in (*BASELINE_LABELS.values(), *SUMMARY_METRICS, "0.250 [0.150, 0.350]", "10-fold"):
        assert words in text_of(full)
    replicates = text_of(full.split("Replicates within a dataset")[1])
    assert "b 13 11 1 0.300 [0.200, 0.400]" in replicates
    assert "-0.200 [-0.300, -0.100]" in replicates


def test_the_page_is_well_formed_and_needs_nothing_from_outside(full: str) -> None:
    balance = Balance()
    balance.feed(full)
    assert balance.open == []
    assert "http" not in full
    assert not re.search(r"<(img|link|iframe)|src=|url\(|@import", full)


def test_texts_are_escaped(full: str) -> None:
    assert "<b>&" not in full
    assert full.count(TAMED) == 2
    assert "1 &lt;January&gt;" in full
    hostile = page(mean(0.5, left_dataset_id="<i>x"), delta(0.1, "source_peers", left_dataset_id="<i>x"))
    assert "<i>" not in hostile
    assert "&lt;i&gt;x" in hostile


def test_equal_rows_give_equal_pages() -> None:
    means = [mean(0.5), delta(0.1, "source_peers"), mean(0.1, right_dataset_id="c")]
    scores, peers, matches = treated(12, [n / 60 for n in range(60)])
    shuffled = tuple(frame.sample(fraction=1.0, shuffle=True, seed=1) for frame in (scores, peers, matches))
    assert page(*means, of_matches=(scores, peers, matches)) == page(*reversed(means), of_matches=shuffled)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ci_low": None, "ci_high": None, "ci_status": "not_estimable"}, INTERVAL_STATUS["not_estimable"]),
        ({"ci_low": 0.5, "ci_high": 0.5, "ci_status": "degenerate"}, INTERVAL_STATUS["degenerate"]),
        ({"ci_status": "percentile_fallback"}, "[0.400, 0.600]†"),
    ],
)
def test_a_mean_without_a_usual_interval_says_why(changed: dict[str, object], words: str) -> None:
    overview = page(mean(0.5, **changed)).split("<h2>Spearman")[0].split("<h2>Overview")[1]
    assert words in overview
    assert "0.500" in overview


def test_an_undefined_mean_says_why(full: str) -> None:
    assert "overlap_50</small></td><td><small>no compound has a value" in full
    assert "no compound has a value" in page(mean(None))


def test_a_pair_without_eligible_rows_says_why_and_still_lists_its_compounds() -> None:
    html = page(mean(None, n_rows=0, n_matches=0, n_contexts=0), of_matches=treated(2, [0.5, 0.25]))
    overview = text_of(html.split("<h2>Overview")[1].split("<h2>Spearman")[0])
    assert f"a × b 2 0 0 0 {NO_ROWS}" in overview
    section = html.split("<details ")[1].split("</details>")[0]
    assert "<svg" not in section
    assert "erlotinib 0.625 0.875 0.188 1 0" in text_of(section)


def test_compounds_show_the_mean_of_both_sides_and_the_best_first(full: str) -> None:
    table = text_of(full.split("<h3>Each compound</h3>")[1].split("</details>")[0])
    assert f"{TAMED} 0.625 0.875 0.375 1 1 erlotinib 0.625 0.875 – 1 1" in table


def test_of_many_compounds_the_best_and_the_worst_are_shown() -> None:
    html = page(mean(0.5), of_matches=treated(60, [n / 60 for n in range(60)]))
    listed = re.findall(r"<td>(C\d{3})</td>", html)
    assert listed == [f"C{n:03}" for n in (*range(59, 34, -1), *range(24, 1, -1))]
    assert "Of 60 compounds these are the 25 with the highest and the 25 with the lowest" in html


def test_compounds_without_percentile_are_not_the_worst() -> None:
    html = page(mean(0.5), of_matches=treated(60, [0.5] * 40 + [None] * 20))
    assert len(re.findall(r"<td>C\d{3}</td>", html)) + 2 == 40
    assert "these are the 25 with the highest and the 15 with the lowest" in html


def test_small_negative_values_are_not_minus_zero() -> None:
    assert "-0.000" not in page(mean(-1e-6, ci_low=-2e-6, ci_high=1e-6), delta(-1e-6, "source_peers"))


def test_an_axis_of_deltas_all_below_zero_still_shows_zero() -> None:
    html = page(mean(0.5), delta(-0.3, "source_peers"))
    assert ">0.00</text>" in html.split("<details ")[1]


def test_every_baseline_has_a_label() -> None:
    assert list(BASELINE_LABELS) == list(AGREEMENT_BASELINES)


def test_nothing_gives_a_page_that_says_so() -> None:
    html = page()
    assert "<svg" not in html
    assert "No two datasets are compared." in html
    assert "No dataset has replicates that are compared." in html
    assert "<h2>Glossary</h2>" in html
