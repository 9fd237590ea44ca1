"""One page for people: how far pairs of datasets, and replicates, say the same.

Here: which means are shown, in which words, tables and figures. Not here: the means and their intervals
(``summary``), names of compounds and contexts (the caller has them), and writing the file.

The page needs nothing from outside: styles, figures (SVG) and the few lines of script are in it. It depends
on its input alone: equal rows give equal bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

import polars as pl

from etl.agreement.matching import MIN_COMPOUNDS
from etl.agreement.summary import FOLDS, MATCH, PAIR
from schemas.vocabularies import (
    AGREEMENT_METRICS,
    AGREEMENT_QUANTITIES,
    INTERVAL_STATUS,
    SUMMARY_BASELINES,
    SUMMARY_METRICS,
)

SPEARMAN: Final = "spearman_log2_fold_change"
DIRECTION: Final = "direction_agreement"
MAIN_METRICS: Final = {
    SPEARMAN: "Spearman, all genes",
    "spearman_significant": "Spearman, significant genes",
    DIRECTION: "direction agreement",
    "cosine_t": "cosine of t",
}
RETRIEVAL_METRICS: Final = tuple(metric for metric in SUMMARY_METRICS if metric not in AGREEMENT_METRICS)
RANK: Final = "retrieval_rank_cosine_log2_fold_change"
OVERVIEW_METRICS: Final = {**MAIN_METRICS, RANK: "retrieval rank by cosine"}
BASELINE_LABELS: Final = {
    "source_peers": "other compounds, own dataset",
    "target_peers": "other compounds, other dataset",
    "source_centroid": "mean of other compounds, own dataset",
    "target_centroid": "mean of other compounds, other dataset",
    "other_contexts": "same compound, other contexts",
    "both_different": "other compounds, other contexts",
}
"""Short names of baselines for figures and heads of tables."""

WIDEST: Final = FOLDS[-1]
REPLICATE_FOLD: Final = FOLDS[0]
LISTED_COMPOUNDS: Final = 25
NO_ROWS: Final = f"fewer than {MIN_COMPOUNDS} common compounds in every context and time"
NO_VALUE: Final = "no compound has a value"
NOT_COMPUTED: Final = "not computed"
FALLBACK: Final = "†"

STYLE: Final = """
body{font:15px/1.5 sans-serif;color:#1a1a1a;background:#fff;max-width:80rem;margin:1.5rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.25rem;margin-top:2.2rem;border-bottom:1px solid #ccc}
h3{font-size:1rem;margin:1.4rem 0 .2rem}p{max-width:54rem;margin:.5rem 0}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem;margin:.5rem 0}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
td{font-variant-numeric:tabular-nums}th{background:#f3f5f7;vertical-align:bottom}
th:first-child,td:first-child,td.note,.text td,.text th{text-align:left}td.note{color:#555}
small{color:#555}small.block{display:block;min-width:6.5rem}.ci{white-space:nowrap}td .ci{display:block}
details{border:1px solid #ccc;border-radius:4px;margin:.6rem 0;padding:.3rem .8rem}
summary{cursor:pointer}svg{max-width:100%;height:auto;font-family:sans-serif;display:block;margin:.5rem 0}
@media print{body{max-width:none;font-size:10px}.wide{overflow:visible}button{display:none}}
"""
SCRIPT: Final = """
function show(open){document.querySelectorAll("details").forEach(function(d){d.open=open})}
function reveal(){var d=document.getElementById(location.hash.slice(1));if(d){d.open=true}}
window.addEventListener("hashchange",reveal);window.addEventListener("load",reveal);
window.addEventListener("beforeprint",function(){show(true)});
"""


class Mean(NamedTuple):
    """What the page needs of a row of ``mart/agreement_summary``; the names are the columns."""

    mean: float | None
    ci_low: float | None
    ci_high: float | None
    ci_status: str
    n_rows: int
    n_compounds: int
    n_contexts: int
    n_matches: int


class Means:
    """The means that the page shows, found by pair, metric, baseline, context and fold.

    Args:
        summary: rows of ``mart/agreement_summary``.
    """

    def __init__(self, summary: pl.DataFrame) -> None:
        """Keep the observed values and deltas of both sides; of single contexts, the main metrics only."""
        is_observed = pl.col("baseline") == "none"
        is_main = is_observed & pl.col("metric").is_in(list(OVERVIEW_METRICS))
        quantity = pl.when(is_observed).then(pl.lit("observed")).otherwise(pl.lit("delta"))
        shown = summary.filter(
            pl.col("side") == "both",
            pl.col("quantity") == quantity,
            (pl.col("context_id") == "") | is_main,
        )
        keys = shown.select(*PAIR, "metric", "baseline", "context_id", "max_fold").rows()
        values = (Mean(*row) for row in shown.select(Mean._fields).iter_rows())
        self._means = dict(zip(keys, values, strict=True))
        datasets = sorted({key[:2] for key in keys})
        self.pairs: list[tuple[str, str]] = [pair for pair in datasets if pair[0] != pair[1]]
        self.replicates: list[tuple[str, str]] = [pair for pair in datasets if pair[0] == pair[1]]
        self._contexts = sorted({(key[:2], key[4]) for key in keys if key[4]})

    def of(
        self,
        pair: tuple[str, str],
        metric: str,
        baseline: str = "none",
        *,
        context: str = "",
        fold: float = WIDEST,
    ) -> Mean | None:
        """Return the observed mean, or the mean delta to a baseline; None where there is no such row."""
        return self._means.get((*pair, metric, baseline, context, fold))

    def contexts(self, pair: tuple[str, str]) -> list[str]:
        """Return the contexts of a pair that have means of their own."""
        return [context for of_pair, context in self._contexts if of_pair == pair]


def agreement_report(
    summary: pl.DataFrame,
    agreement: pl.DataFrame,
    baseline: pl.DataFrame,
    matches: pl.DataFrame,
    *,
    compounds: Mapping[str, str],
    contexts: Mapping[str, str],
    made_on: str,
) -> str:
    """Return an HTML page about the agreement of datasets that needs no other file.

    Args:
        summary: rows of ``mart/agreement_summary``.
        agreement: rows of ``mart/agreement``.
        baseline: rows of ``mart/agreement_baseline``.
        matches: rows of ``mart/condition_match``.
        compounds: names by ``compound_id``; an id without a name is shown itself.
        contexts: names by ``context_id``, likewise.
        made_on: when the page is made, printed as it is.
    """
    means = Means(summary)
    found = {(left, right): n for left, right, n in matches.group_by(PAIR).len().iter_rows()}
    by_compound = _by_compound(agreement, baseline, matches)
    body = [
        _introduction(made_on),
        "<h2>Overview</h2>",
        _overview(means, found),
        "<h2>Spearman correlation over all genes</h2>",
        _heatmap(means),
        "<h2>Each pair of datasets</h2>",
        '<p><button onclick="show(true)">open all</button>',
        '<button onclick="show(false)">close all</button></p>',
    ]
    for number, pair in enumerate(means.pairs):
        of_pair = by_compound.filter(left_dataset_id=pair[0], right_dataset_id=pair[1])
        body.append(_pair(number, pair, means, of_pair, compounds, contexts))
    body += ["<h2>Replicates within a dataset</h2>", _replicates(means), "<h2>Glossary</h2>", _glossary()]
    head = f"<title>Agreement between datasets</title>\n<style>{STYLE}</style>"
    opening = '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    return "\n".join(
        [opening, head, "</head>\n<body>", *body, f"<script>{SCRIPT}</script>\n</body>\n</html>\n"]
    )


def _introduction(made_on: str) -> str:
    return f"""<h1>Do datasets agree on what a compound does?</h1>
<p>Made on {escape(made_on)}.</p>
<p>A <b>match</b> is one compound that two datasets tested in the same context (cell line or cell type) for
the same time, at the two doses that are nearest to each other and differ at most {WIDEST:g}-fold. Of each
match the effects on the genes that both datasets measured are compared. <b>Observed</b> is the value of a
metric for the match itself, for example the Spearman correlation of the log2 fold changes: 1 is full
agreement, 0 is none. A <b>baseline</b> is what the same metric gives for conditions that should agree less,
for example another compound in place of the matched one. <b>Delta</b> is observed minus baseline: above zero,
the match agrees more than the baseline does. A mean delta is taken over the matches that have both values, so
it is not the difference between the mean observed value and the mean baseline, which may rest on different
matches. Several doses of a compound in a context and time are averaged first, so that a long dose
series counts once. Only contexts and times with at least {MIN_COMPOUNDS} common compounds count.</p>
<p>Numbers are given as mean [lower end, upper end] of the 95 % interval. <b>Intervals</b> come from drawing
compounds again and again: they say how far the mean could move with other compounds, not with other contexts
or laboratories. {FALLBACK} marks {escape(INTERVAL_STATUS["percentile_fallback"])}. <b>Retrieval rank</b>
asks where the match of a condition stands among all conditions of the other dataset, ordered by the cosine of
log2 fold changes: 1 is the first place, and chance gives about 0.5.</p>"""


def _overview(means: Means, found: Mapping[tuple[str, str], int]) -> str:
    if not means.pairs:
        return "<p>No two datasets are compared.</p>"
    head = ["datasets", "matches found", "of them counted", "compounds", "contexts"]
    rows = []
    for number, pair in enumerate(means.pairs):
        main = means.of(pair, SPEARMAN)
        name = f'<a href="#pair-{number}">{_pair_name(pair)}</a>'
        values = [_cell(means.of(pair, metric)) for metric in OVERVIEW_METRICS]
        if main is None or main.n_rows == 0:
            values = [f'<td class="note" colspan="{len(OVERVIEW_METRICS)}">{_cell(main)}</td>']
        rows.append([name, str(found.get(pair, 0)), *_counts(main), *values])
    return _table([*head, *OVERVIEW_METRICS.values()], rows)


def _pair(
    number: int,
    pair: tuple[str, str],
    means: Means,
    of_pair: pl.DataFrame,
    compounds: Mapping[str, str],
    contexts: Mapping[str, str],
) -> str:
    """Return the section of one pair, closed at first."""
    main = means.of(pair, SPEARMAN)
    if main is None or main.n_rows == 0:
        line = _cell(main)
        parts = [f"<p>No means: {line}.</p>"]
    else:
        line = f"Spearman over all genes {_cell(main)}, {main.n_matches} matches"
        parts = [
            "<h3>How much better than each baseline</h3>",
            "<p>Mean delta of the Spearman correlation over all genes, with its 95 % interval. Where an "
            "interval lies right of the line at zero, matches agree more than that baseline.</p>",
            _forest([(label, means.of(pair, SPEARMAN, name)) for name, label in BASELINE_LABELS.items()]),
            "<h3>All metrics</h3>",
            _metrics(pair, means, AGREEMENT_METRICS, BASELINE_LABELS),
            "<h3>Retrieval</h3>",
            _metrics(pair, means, RETRIEVAL_METRICS, {"chance": "chance"}),
            "<h3>How near the doses must be</h3>",
            _dose_tolerance(pair, means),
            "<h3>Each context</h3>",
            _contexts_table(pair, means, contexts),
        ]
    parts += ["<h3>Each compound</h3>", _compounds_table(of_pair, compounds)]
    opening = f'<details id="pair-{number}"><summary><b>{_pair_name(pair)}</b>: {line}</summary>'
    return "\n".join([opening, *parts, "</details>"])


def _metrics(pair: tuple[str, str], means: Means, metrics: Iterable[str], deltas: Mapping[str, str]) -> str:
    head = ["metric", "observed", *(f"delta to {label}" for label in deltas.values())]
    rows = [
        [_metric_name(metric), *_cells([means.of(pair, metric, baseline) for baseline in ("none", *deltas)])]
        for metric in metrics
    ]
    return _table(head, rows)


def _dose_tolerance(pair: tuple[str, str], means: Means) -> str:
    head = ["doses differ at most", "compounds × contexts × times", "compounds"]
    rows = []
    for fold in FOLDS:
        label = "not at all" if fold == 1 else f"{fold:g}-fold"
        main = means.of(pair, SPEARMAN, fold=fold)
        counts = ["0", "0"] if main is None else [str(main.n_rows), str(main.n_compounds)]
        values = [main, means.of(pair, DIRECTION, fold=fold)]
        rows.append([label, *counts, *_cells(values)])
    return _table([*head, MAIN_METRICS[SPEARMAN], MAIN_METRICS[DIRECTION]], rows)


def _contexts_table(pair: tuple[str, str], means: Means, contexts: Mapping[str, str]) -> str:
    rows = []
    for context in means.contexts(pair):
        main = means.of(pair, SPEARMAN, context=context)
        values = [means.of(pair, metric, context=context) for metric in OVERVIEW_METRICS]
        rows.append([_name(context, contexts), *_counts(main)[:2], *_cells(values)])
    return _table(["context", "matches", "compounds", *OVERVIEW_METRICS.values()], rows)


def _by_compound(agreement: pl.DataFrame, baseline: pl.DataFrame, matches: pl.DataFrame) -> pl.DataFrame:
    """Return one row per pair of datasets and compound, the best of a pair first."""
    spearman, direction = (
        agreement.filter(pl.col("metric") == metric).select(*MATCH, pl.col("observed").alias(metric))
        for metric in (SPEARMAN, DIRECTION)
    )
    percentile = (
        baseline.filter(pl.col("metric") == SPEARMAN, pl.col("baseline") == "target_peers")
        .sort(*MATCH, "side")
        .group_by(MATCH, maintain_order=True)
        .agg(pl.col("percentile").mean())
    )
    return (
        matches.join(spearman, on=MATCH, how="left")
        .join(direction, on=MATCH, how="left")
        .join(percentile, on=MATCH, how="left")
        .sort(*PAIR, "compound_id", *MATCH)
        .group_by(*PAIR, "compound_id", maintain_order=True)
        .agg(
            pl.col(SPEARMAN, DIRECTION, "percentile").mean().round(12),
            n_matches=pl.len(),
            n_counted=(pl.col("n_compounds") >= MIN_COMPOUNDS).sum(),
        )
        .sort(*PAIR, "percentile", "compound_id", descending=[False, False, True, False], nulls_last=True)
    )


def _compounds_table(of_pair: pl.DataFrame, compounds: Mapping[str, str]) -> str:
    note = (
        "Means over all matches of the compound, those in contexts with few common compounds included. The "
        "percentile says how the Spearman correlation of a match ranks among those with other compounds of "
        "the other dataset: 1 is above all of them, 0.5 is in their middle."
    )
    listed = of_pair
    if of_pair.height > 2 * LISTED_COMPOUNDS:
        ranked = of_pair.drop_nulls("percentile")
        best = ranked.head(LISTED_COMPOUNDS)
        worst = ranked.slice(max(LISTED_COMPOUNDS, ranked.height - LISTED_COMPOUNDS))
        listed = pl.concat([best, worst])
        note += (
            f" Of {of_pair.height} compounds these are the {best.height} with the highest and the "
            f"{worst.height} with the lowest percentile."
        )
    rows = [
        [
            _name(row["compound_id"], compounds),
            *(_number(row[column]) for column in (SPEARMAN, DIRECTION, "percentile")),
            str(row["n_matches"]),
            str(row["n_counted"]),
        ]
        for row in listed.iter_rows(named=True)
    ]
    head = ["compound", MAIN_METRICS[SPEARMAN], MAIN_METRICS[DIRECTION], "percentile among target peers"]
    return f"<p>{escape(note)}</p>" + _table([*head, "matches", "of them counted above"], rows)


def _replicates(means: Means) -> str:
    if not means.replicates:
        return "<p>No dataset has replicates that are compared.</p>"
    baselines = {name: BASELINE_LABELS[name] for name in ("source_peers", "source_centroid")}
    head = ["dataset", "conditions", "compounds", "contexts", *OVERVIEW_METRICS.values()]
    head += ["that rank minus chance"]
    head += [f"delta of Spearman, all genes, to {label}" for label in baselines.values()]
    rows = []
    for pair in means.replicates:
        values = [means.of(pair, metric, fold=REPLICATE_FOLD) for metric in OVERVIEW_METRICS]
        values += [means.of(pair, RANK, "chance", fold=REPLICATE_FOLD)]
        values += [means.of(pair, SPEARMAN, baseline, fold=REPLICATE_FOLD) for baseline in baselines]
        counts = _counts(means.of(pair, SPEARMAN, fold=REPLICATE_FOLD))
        rows.append([escape(pair[0]), *counts, *_cells(values)])
    note = (
        "Treated samples of one condition are compared with each other, two at a time, at the same dose. The "
        "profile of one sample is noisier than that of a condition, which rests on several: these numbers "
        "can be lower than those of matches above, and are no upper limit for them. The retrieval rank says "
        "how well a sample finds the others of its condition among samples of the same context and time: 1 "
        f"is first; it needs {MIN_COMPOUNDS} compounds. Samples that share a plate share its controls, which "
        "helps them to find each other."
    )
    return f"<p>{note}</p>" + _table(head, rows)


def _glossary() -> str:
    baselines = {
        f"{name} ({BASELINE_LABELS[name]})" if name in BASELINE_LABELS else name: sentence
        for name, sentence in SUMMARY_BASELINES.items()
    }
    groups = {
        "Metrics": SUMMARY_METRICS,
        "Baselines": baselines,
        "Quantities": AGREEMENT_QUANTITIES,
        "Intervals": INTERVAL_STATUS,
    }
    return "\n".join(
        f"<h3>{title}</h3>"
        + _table(["term", "meaning"], [[escape(t), escape(m)] for t, m in terms.items()], "text")
        for title, terms in groups.items()
    )


def _heatmap(means: Means) -> str:
    """Return the observed Spearman correlations of all pairs, and of replicates on the diagonal, as SVG."""
    datasets = sorted({dataset for pair in (*means.pairs, *means.replicates) for dataset in pair})
    if not datasets:
        return "<p>Nothing to show.</p>"
    width, height = 74, 34
    left, top = 20 + 7 * max(map(len, datasets)), 20 + 5 * max(map(len, datasets))
    parts = []
    for i, row in enumerate(datasets):
        y = top + i * height
        parts.append(_label(left - 8, y + height / 2 + 4, row, "end"))
        x = left + (i + 0.5) * width
        parts.append(_label(x, top - 8, row, "start", f' transform="rotate(-40 {x:g} {top - 8:g})"'))
        for j, column in enumerate(datasets):
            fold = REPLICATE_FOLD if i == j else WIDEST
            found = means.of((min(row, column), max(row, column)), SPEARMAN, fold=fold)
            value = found.mean if found else None
            x = left + j * width
            border = ' stroke-dasharray="4 2" stroke="#555"' if i == j else ' stroke="#fff"'
            parts.append(
                f'<rect x="{x}" y="{y}" width="{width - 2}" height="{height - 2}" '
                f'fill="{_color(value)}"{border}/>'
            )
            text = "–" if value is None else f"{value:z.2f}"
            parts.append(_label(x + width / 2, y + height / 2 + 4, text, "middle"))
    size = (left + len(datasets) * width + top, top + len(datasets) * height + 4)
    note = (
        f"Mean over matches whose doses differ at most {WIDEST:g}-fold. Blue is positive, orange negative. "
        "Dashed, on the diagonal: replicates of one dataset, which are single samples and thus noisier. "
        f"– stands for no value: no common treatment, {NO_ROWS}, or no replicates."
    )
    return _svg(size, "Spearman correlation by pair of datasets", parts) + f"<p><small>{note}</small></p>"


def _forest(means: Sequence[tuple[str, Mean | None]]) -> str:
    """Return means with their intervals, one below the other, on an axis with zero as SVG."""
    given = [v for _, mean in means if mean for v in (mean.mean, mean.ci_low, mean.ci_high) if v is not None]
    if not given:
        return f"<p>No baseline has a value: {NO_VALUE}.</p>"
    step = next((s for s in (0.02, 0.05, 0.1, 0.2) if max(given) - min(0, *given) <= 6 * s), 0.5)
    first, last = int(min(0, *given) // step), int(-(-max(0, *given) // step))
    last += first == last
    left, width, height = 270, 330, 26
    bottom = 14 + len(means) * height

    def at(value: float) -> float:
        return round(left + (value / step - first) / (last - first) * width, 1)

    parts = []
    for tick in range(first, last + 1):
        x = at(tick * step)
        line = '#333" stroke-width="1.5' if tick == 0 else "#ddd"
        parts.append(f'<line x1="{x}" x2="{x}" y1="8" y2="{bottom}" stroke="{line}"/>')
        parts.append(_label(x, bottom + 16, f"{tick * step:z.2f}", "middle"))
    for number, (label, mean) in enumerate(means):
        y = 14 + (number + 0.5) * height
        parts.append(_label(left - 14, y + 4, label, "end"))
        text = NOT_COMPUTED if mean is None else NO_VALUE
        if mean and mean.mean is not None:
            text = _number(mean.mean)
            parts.append(f'<circle cx="{at(mean.mean)}" cy="{y}" r="4.5" fill="#2b6a99"/>')
            if mean.ci_low is not None and mean.ci_high is not None:
                text += f" [{_number(mean.ci_low)}, {_number(mean.ci_high)}]"
                ends = f'x1="{at(mean.ci_low)}" x2="{at(mean.ci_high)}"'
                parts.append(f'<line {ends} y1="{y}" y2="{y}" stroke="#2b6a99" stroke-width="2"/>')
        parts.append(_label(left + width + 16, y + 4, text, "start"))
    return _svg((left + width + 190, bottom + 24), "Mean delta to each baseline", parts)


def _svg(size: tuple[float, float], title: str, parts: Iterable[str]) -> str:
    width, height = size
    box = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return f'<svg {box} role="img" aria-label="{title}">' + "".join(parts) + "</svg>"


def _label(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="12" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _color(value: float | None) -> str:
    """Return white for 0, blue towards 1, orange towards -1, and grey for no value."""
    if value is None:
        return "#eee"
    full = (95, 160, 210) if value > 0 else (240, 150, 70)
    return "#" + "".join(f"{round(255 - (255 - part) * min(1.0, abs(value))):02x}" for part in full)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table; cells are HTML, and whole ``<td>`` where they span columns."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = [
        "<tr>" + "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row) + "</tr>"
        for row in rows
    ] or [f'<tr><td class="note" colspan="{len(head)}">none</td></tr>']
    body = "<tbody>" + "\n".join(lines) + "</tbody>"
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead>\n{body}</table></div>'


def _cells(means: Sequence[Mean | None]) -> list[str]:
    """Return the cells of a row, one wide one where all of them would say the same without a number."""
    texts = [_cell(mean) for mean in means]
    if len(set(texts)) == 1 and all(mean is None or mean.mean is None for mean in means):
        return [f'<td class="note" colspan="{len(texts)}">{texts[0]}</td>']
    return texts


def _cell(mean: Mean | None) -> str:
    """Return a mean with its interval, or why there is none."""
    if mean is None or mean.mean is None:
        reason = NOT_COMPUTED if mean is None else NO_VALUE if mean.n_rows else NO_ROWS
        return f"<small>{reason}</small>"
    number = _number(mean.mean)
    if mean.ci_low is None or mean.ci_high is None or mean.ci_status == "degenerate":
        return f'{number}<small class="block">no interval: {escape(INTERVAL_STATUS[mean.ci_status])}</small>'
    mark = FALLBACK if mean.ci_status == "percentile_fallback" else ""
    return f'{number} <span class="ci">[{_number(mean.ci_low)}, {_number(mean.ci_high)}]{mark}</span>'


def _counts(mean: Mean | None) -> list[str]:
    if mean is None:
        return ["0", "0", "0"]
    return [str(n) for n in (mean.n_matches, mean.n_compounds, mean.n_contexts)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3f}"


def _name(key: str, names: Mapping[str, str]) -> str:
    return escape(names.get(key, key))


def _pair_name(pair: tuple[str, str]) -> str:
    return f"{escape(pair[0])} × {escape(pair[1])}"


def _metric_name(metric: str) -> str:
    return f'{escape(SUMMARY_METRICS[metric])} <small class="block">{escape(metric)}</small>'
