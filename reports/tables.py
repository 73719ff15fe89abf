"""Tables: the cells of every report, so that no number is formatted twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.results.chunk_sizes import ChunkSize
from harness.results.comparison import Comparison
from harness.results.recall import Recall
from harness.results.values import CollectionResult, Cost, Costs, Results, Score
from reports import formats, reading

CANDIDATE, CHANGE = "candidate", "change"
DIFFERENCE, P, WINS = "difference from baseline", "p", "wins/ties/losses"
GAP, MDE = "difference", "MDE"
RECALL = "top 100 kept"
LATENCY, BYTES = "query p95 ms", "size/doc"
SHORT = {
    DIFFERENCE: "difference [95%]",
    LATENCY: "p95 ms",
}
EVIDENCE_KEY = (
    "P: posterior probability by the Bayesian bootstrap. Effect size: mean difference in standard "
    "deviations of the differences (Cohen's d_z). Worst tenth: mean difference of the tenth of the "
    "queries that loses most. TRisk: mean difference with losses counted twice, in standard "
    "errors; below \u22122 the risk is significant. More queries: about how many would settle the "
    "result."
)
CHUNK_KEY = (
    "A document scores by its best passage, so all chunk sizes share the same judgements. "
    "Differences are from the same candidate on the first collection, with 95% intervals; p is "
    "adjusted for all candidates and chunk sizes. The decision rests on the first collection."
)
_WORDS = frozenset(
    {
        *("loss", CANDIDATE, CHANGE, "collection", "source", "licence", "timed on", "encoded on"),
        *(
            "action",
            "option",
            "price",
            "why not",
            "excluded",
            "verdict",
            "gate",
            "asked",
            "told",
            "cluster",
            "reason",
            "a miss has",
            "status",
        ),
        *("remedy", "text", "sentence", "query", "document", "why", "label", "stored", "value"),
        *("top document", "relevant document", "key", "about", "stage", "measure"),
        *("what it means", "passages of", "before queries", "before documents"),
        *("real gains in", "real losses in", "from", "split", "role"),
    }
)


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        columns: their heads.
        rows: of as many cells as there are columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def only(self, *columns: str) -> Table:
        """Return the table with some of its columns."""
        places = [self.columns.index(column) for column in columns]
        return Table(columns, tuple(tuple(row[place] for place in places) for row in self.rows))

    def without_same(self, *columns: str) -> tuple[Table, str]:
        """Return the table without those of these columns that are constant, and their values.

        An empty cell counts as the same.
        """
        same = {}
        for column in columns:
            cells = {row[self.columns.index(column)] for row in self.rows} - {formats.UNKNOWN}
            if len(cells) == 1:
                same[column] = cells.pop()
        kept = [column for column in self.columns if column not in same]
        return self.only(*kept), "; ".join(f"{column} {text}" for column, text in same.items())

    def is_number(self, column: str) -> bool:
        """Tell whether a column holds numbers, which are aligned right."""
        return column not in _WORDS


def candidates(results: Results, costs: Costs, collection: str, *, metric: str = "") -> Table:
    """Return a row per candidate, the best score first: scores, difference, the main costs.

    Args:
        results: of a run.
        costs: measured.
        collection: name.
        metric: that has interval and difference; "" takes the one that decides.
    """
    deciding = metric or results.metrics[0]
    others = [other for other in results.metrics if other != deciding]
    scores = {metric: reading.scores_of(results, collection, metric) for metric in results.metrics}
    found = reading.against_baseline(results, collection, deciding)
    timed, names = _costs_of(costs, collection), reading.by_score(scores[deciding])
    return table(
        {
            CANDIDATE: f"{name} (baseline)" if name == results.baseline else name,
            interval_head(deciding): _estimate(scores[deciding][name]),
            **(_against(found[name]) if name in found else _BASELINE),
            **{metric: formats.mean(scores[metric][name].mean) for metric in others},
            LATENCY: latency(timed.get(name)),
            BYTES: formats.size(timed[name].bytes_per_document if name in timed else None),
        }
        for name in names
    )


def edges(results: Results, collection: str) -> Table:
    """Return a row per edge of the tree: what the one change bought, in the deciding metric."""
    changes = {candidate.name: candidate.change for candidate in results.candidates}
    found = reading.comparisons_of(results, collection, results.metrics[0], role="parent")
    kept = {each.candidate: each for each in results.recalls if each.collection == collection}
    return table(
        {
            CANDIDATE: edge.candidate,
            CHANGE: f"from {edge.reference}: {changes[edge.candidate]}",
            GAP: _difference(edge),
            **({RECALL: _kept(kept.get(edge.candidate))} if kept else {}),
            P: formats.p_value(edge.p_adjusted),
            WINS: _wins(edge),
            MDE: formats.mean(edge.mde),
        }
        for edge in found
    )


def scores(results: Results, collection: str, metrics: Sequence[str]) -> Table:
    """Return a row per candidate: some metrics with their intervals, and how complete they are."""
    found = {metric: reading.scores_of(results, collection, metric) for metric in metrics}
    first = found[metrics[0]]
    return table(
        {
            CANDIDATE: label,
            **{metric: _estimate(found[metric][name]) for metric in metrics},
            "judged@10": formats.share(first[name].judged_at_10),
            "missing": f"{first[name].missing:,}",
            "n": f"{first[name].n:,}",
        }
        for label, name in _labels(results)
    )


def differences(results: Results, collection: str) -> Table:
    """Return a row per candidate: the difference from the baseline in every metric of the suite."""
    found = {m: reading.against_baseline(results, collection, m) for m in results.metrics}
    return table(
        {CANDIDATE: label, **{m: _difference(found[m][name]) for m in results.metrics}}
        for label, name in _labels(results)
        if name != results.baseline
    )


def evidence(results: Results, collection: str) -> Table:
    """Return a row per candidate: what stands behind its verdict, and what its mean hides."""
    found = reading.against_baseline(results, collection, results.metrics[0])
    return table(
        {
            CANDIDATE: label,
            "verdict": f"{reading.SHAPES[c.verdict]} {c.verdict}",
            f"P(gain ≥ {results.gain:g})": formats.probability(c.p_gain),
            f"P(harm > {results.margin:g})": formats.probability(c.p_loss),
            "effect size": f"{c.effect_size:+.2f}".replace("-", formats.MINUS),
            "lose 0.5 or more": formats.share(c.severe),
            "worst tenth": formats.signed(c.worst_decile),
            "TRisk": f"{c.t_risk:+.1f}".replace("-", formats.MINUS),
            "more queries": formats.count(c.more_queries or None),
        }
        for label, name in _labels(results)
        if name in found
        for c in [found[name]]
    )


def means(found: Sequence[Score]) -> Table:
    """Return a row per run: every metric with its interval, and the queries."""
    by_run: dict[str, list[Score]] = {}
    for score in found:
        by_run.setdefault(score.candidate, []).append(score)
    return table(
        {
            CANDIDATE: name,
            **{interval_head(score.metric): _estimate(score) for score in mine},
            "n": f"{mine[0].n:,}",
        }
        for name, mine in by_run.items()
    )


def by_metric(found: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Return comparisons by their metric, in the order in which they come."""
    parts: dict[str, list[Comparison]] = {}
    for each in found:
        parts.setdefault(each.metric, []).append(each)
    return parts


def pairs(found: Sequence[Comparison]) -> Table:
    """Return a row per pair of runs, in one metric."""
    return table(
        {
            CANDIDATE: f"{each.candidate} against {each.reference}",
            GAP: _difference(each),
            P: formats.p_value(each.p_adjusted),
            WINS: _wins(each),
            MDE: formats.mean(each.mde),
        }
        for each in found
    )


def overall(results: Results) -> Table:
    """Return a row per candidate: the difference from the baseline over all collections."""
    found = {each.candidate: each for each in results.overall if each.metric == results.metrics[0]}
    return table(
        {
            CANDIDATE: label,
            GAP: formats.difference(each.difference, each.low, each.high),
            f"P(gain ≥ {results.gain:g})": formats.probability(each.p_gain),
            f"P(harm > {results.margin:g})": formats.probability(each.p_loss),
            "real gains in": _counted(each.gains, each.collections),
            "real losses in": _counted(each.losses, each.collections),
        }
        for label, name in _labels(results)
        if name in found
        for each in [found[name]]
    )


def chunk_sizes(results: Results, costs: Costs) -> Table:
    """Return a row per candidate and way to cut the same documents; none where there is one."""
    found = {(each.candidate, each.collection): each for each in results.chunk_sizes}
    firsts = dict.fromkeys(each.reference for each in results.chunk_sizes)
    metric = results.metrics[0]
    cost = {(each.candidate, each.collection): each for each in costs.costs}

    def row(label: str, name: str, place: CollectionResult) -> dict[str, str]:
        score, other = results.score(name, place.name, metric), found.get((name, place.name))
        return {
            CANDIDATE: label,
            "passages of": place.cut or "whole documents",
            "collection": place.name,
            "passages": f"{place.passages or place.documents:,}",
            interval_head(metric): _estimate(score),
            GAP: "reference" if other is None else _difference(other),
            P: "" if other is None else formats.p_value(other.p_adjusted),
            WINS: "" if other is None else _wins(other),
            BYTES: formats.size(
                cost[name, place.name].bytes_per_document if (name, place.name) in cost else None
            ),
        }

    return table(
        row(label, name, place)
        for first in firsts
        for label, name in _labels(results)
        for place in results.collections
        if first in (place.name, place.cut_otherwise)
    )


def tasks(results: Results) -> Table:
    """Return a row per candidate: the scores of mteb's own evaluators, a column a task."""
    found = {(each.candidate, each.task): each.score for each in results.task_scores}
    heads = {each.task: f"{each.task}: {each.metric}" for each in results.task_scores}
    return table(
        {
            CANDIDATE: label,
            **{
                head: formats.mean(found[name, task]) if (name, task) in found else formats.UNKNOWN
                for task, head in heads.items()
            },
        }
        for label, name in _labels(results)
        if heads
    )


def measured(results: Results, costs: Costs, collection: str) -> Table:
    """Return a row per candidate: everything that was measured of its costs."""
    found = _costs_of(costs, collection)
    bills = any(cost.usd_per_million_queries or cost.usd_per_corpus for cost in found.values())
    return table(
        {
            CANDIDATE: label,
            **_cost_cells(found[name]),
            **(_billed_cells(found[name]) if bills else {}),
        }
        for label, name in _labels(results)
        if name in found
    )


def cuts(results: Results) -> Table:
    """Return a row per model and collection: the share of texts that it reads only in part."""
    return table(
        {
            CANDIDATE: cut.candidate,
            "collection": cut.collection,
            "limit, tokens": f"{cut.limit:,}",
            "documents truncated": formats.share(cut.documents),
            "queries truncated": formats.share(cut.queries),
        }
        for cut in results.cuts
    )


def prompts(results: Results) -> Table:
    """Return a row per candidate that encodes texts: what is put before queries and documents."""

    def said(prompt: str | None) -> str:
        return f"“{prompt}”" if prompt else "none"

    return table(
        {
            CANDIDATE: each.name,
            "before queries": " ".join(
                f"{place}: {said(prompt)}" for place, prompt in each.query_prompts.items()
            )
            or said(each.query_prompt),
            "before documents": said(each.document_prompt),
        }
        for each in results.candidates
        if each.weights is not None
    )


def collections(results: Results) -> Table:
    """Return a row per collection: where it comes from and how large it is."""
    return table(
        {
            "collection": found.name,
            "source": f"{found.source}, {found.split}",
            "documents": f"{found.documents:,}"
            + (f" in {found.passages:,} passages" if found.passages is not None else ""),
            "queries": f"{found.queries:,}",
            "judgements": f"{found.judgements:,}",
            "licence": found.licence or formats.UNKNOWN,
        }
        for found in results.collections
    )


def interval_head(metric: str) -> str:
    """Return the head of a column of scores with their intervals."""
    return f"{metric} [95%]"


def _against(comparison: Comparison) -> dict[str, str]:
    return {
        DIFFERENCE: _difference(comparison),
        P: formats.p_value(comparison.p_adjusted),
        WINS: _wins(comparison),
    }


_BASELINE = {DIFFERENCE: "reference", P: "", WINS: ""}


def _estimate(score: Score) -> str:
    return formats.with_interval(score.mean, score.low, score.high)


def _difference(comparison: Comparison | ChunkSize) -> str:
    shape = reading.SHAPES[comparison.verdict]
    return f"{shape} {reading.family_gap(comparison)}"


def _wins(comparison: Comparison | ChunkSize) -> str:
    return f"{comparison.wins}/{comparison.ties}/{comparison.losses}"


def _kept(recall: Recall | None) -> str:
    """Return the share of its parent's first documents that a compression finds."""
    return formats.UNKNOWN if recall is None else formats.share(recall.mean)


def _counted(names: Sequence[str], among: int) -> str:
    shown = f": {', '.join(names)}" if names else ""
    return f"{len(names)} of {among}{shown}"


def latency(cost: Cost | None) -> str:
    """Return the 95th percentile of the latency, marked for a busy machine and for the network."""
    shown = formats.milliseconds(None if cost is None else cost.query_ms_p95)
    if cost is None:
        return shown
    marks = {"busy": cost.timing_problem, "network": cost.network_ms_p50 is not None}
    told = ", ".join(mark for mark, holds in marks.items() if holds)
    return f"{shown} ({told})" if told else shown


def _cost_cells(cost: Cost) -> dict[str, str]:
    return {
        "query p50 ms": formats.milliseconds(cost.query_ms_p50),
        LATENCY: latency(cost),
        "queries timed": f"{cost.query_n:,}"
        + (f" of {cost.query_asked:,}" if cost.query_n < cost.query_asked else ""),
        BYTES: formats.size(cost.bytes_per_document),
        "parameters": formats.parameters(cost.parameters),
        "documents/s": formats.rate(cost.documents_per_second),
        "tokens/s": formats.rate(cost.tokens_per_second),
        "index built in": formats.seconds(cost.index_seconds),
        "training": formats.seconds(cost.training_seconds),
        "training pairs": formats.count(cost.training_pairs),
        "timed on": _joined(cost.device, cost.date),
        "encoded on": _joined(cost.encoded_on),
    }


def _billed_cells(cost: Cost) -> dict[str, str]:
    return {
        "a million queries": formats.usd(cost.usd_per_million_queries),
        "embedding the corpus": formats.usd(cost.usd_per_corpus),
    }


def _joined(*texts: str | None) -> str:
    return ", ".join(filter(None, texts)) or formats.UNKNOWN


def _costs_of(costs: Costs, collection: str) -> dict[str, Cost]:
    return {cost.candidate: cost for cost in costs.costs if cost.collection == collection}


def _labels(results: Results) -> Iterator[tuple[str, str]]:
    """Yield (name with its branch and mark, name) in the order of the tree."""
    for candidate, depth in reading.branches(results):
        branch = "\u00a0\u00a0" * (depth - 1) + "└\u00a0" if depth else ""
        mark = " (baseline)" if candidate.name == results.baseline else ""
        yield branch + candidate.name + mark, candidate.name


def table(rows: Iterable[Mapping[str, str]]) -> Table:
    """Return rows of (column, cell), all with the same columns, as a table."""
    listed = list(rows)
    columns = tuple(listed[0]) if listed else ()
    return Table(columns, tuple(tuple(row.values()) for row in listed))
