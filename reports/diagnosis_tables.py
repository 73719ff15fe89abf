"""A diagnosis as cells and sentences, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from harness.diagnosis.values import (
    CandidateDiagnosis,
    DataHealth,
    Exemplar,
    FailureCluster,
    Finding,
    Lever,
    LossStage,
    ScoreBounds,
    SpaceHealth,
    Unjudged,
    odds_in_words,
)
from harness.errors import counted
from harness.results.values import Results
from reports import formats, reading
from reports.tables import CANDIDATE, Table, table
from reports.wording import joined

STAGES: Mapping[LossStage, str] = {
    "retrieved": "in the first results",
    "rerankable": "within reach of a reranker",
    "deep": "deep in the list",
    "lost": "not found",
    "rerank-miss": "missed by the reranker",
    "rerank-harm": "demoted by the reranker",
    "absent": "not in the corpus",
}
STAGE_MEANINGS: Mapping[LossStage, str] = {
    "retrieved": "a relevant document is in the top {k}; the loss is that it is not higher",
    "rerankable": "ranks {after_k} to {depth}: a reranker could promote it",
    "deep": "ranks {after_depth} to 1,000: a deeper first stage would find it",
    "lost": "not among the first 1,000; also further relevant documents that the run lacks",
    "rerank-miss": "within {depth} before reranking, still beyond {k} after",
    "rerank-harm": "within {k} before reranking, beyond it after",
    "absent": "no relevant document is in the corpus",
}
STAGES_KEY = (
    "A query counts at the stage of its best relevant document. nDCG counts every relevant "
    "document, so a stage without queries can lose. The losses sum to 1 minus the score: those in "
    "the first results and within reach of a reranker are lost to ranking, the others to documents "
    "beyond."
)
CLUSTERS_KEY = (
    "Keys: c for queries that lose together, r for queries that lose against another candidate, d "
    "for relevant documents that are missed together. Loss ratio: mean loss inside relative to "
    "that outside, with its 95% interval. Impact: what the mean over all queries (of documents, "
    "the share found) gains if the cluster scores like the rest. p is adjusted for all regions "
    "searched. Stability: how much of the cluster the same search finds again in random "
    "subsamples (mean best Jaccard overlap, 1 is all of it): stable from 0.75, dubious below 0.6."
)
FINDINGS_KEY = (
    "Misses and hits are those queries in which the reason could show. Odds ratio: of the reason "
    "among misses against hits, with the 95% interval for this reason alone; p is adjusted for "
    "all reasons, so it can be 0.05 or more where the interval leaves out 1. Confirmed: a change "
    "that removes the reason recovers more of the misses with it than of other misses. Supported: "
    "more frequent among misses (p < 0.05); no change confirms it. Associated: the same, but "
    "every miss tends to show it, so only a change could confirm it, and none does. More frequent "
    "among hits: no cause of misses, though its remedy may still gain. Refuted: the change "
    "recovers no more misses with it than others. Not significant: p of 0.05 or more. "
    "Recoverable: what the remedy adds to the mean on queries with the reason, beyond its gain on "
    "others."
)
NO_REMEDY = "The diagnosis found no reason that has a remedy."
_SHOWN_STATUS = ("confirmed", "supported")
_WIDE = 0.5  # of a score: bounds further apart say nothing
_READ = "Read its failures for what they share"
_READ_MORE = "Read its failures for what else they share"  # than the attributes in their name
_KINDS: Mapping[Lever, tuple[str, str]] = {
    "fine-tune": ("finetune", "fine-tuning"),
    "hybrid": ("fuse", "a hybrid"),
    "rerank": ("rerank", "reranking"),
}
_ACTIONS: Mapping[Lever, str] = {
    "fine-tune": "Fine-tune on pairs like these",
    "hybrid": "Search by words and by vectors (fusion)",
    "rerank": "Rerank the first documents with a cross-encoder",
    "chunking": "Split long documents into passages",
    "expansion": "Add other wordings, such as acronyms written out, to queries or documents",
    "deduplicate": "Merge the copies of documents",
    "centring": "Centre the vectors, which weakens hubs",
    "multi-vector": "Keep several vectors for each document, or rerank",
    "k1 and b": "Tune k1 and b of BM25",
    "fix the data": "Judge the likely relevant documents first",
    "fix the pipeline": "Correct the prompt or the pipeline",
    "none": _READ,
}
_MODES = {"loss": "queries", "difference": "queries", "documents": "documents"}
_STABLE, _DUBIOUS = 0.75, 0.6
_SHOWN_TEXT = 160
_QUOTE = "'"  # around a word that is an attribute
_LEADS = 3  # that few unjudged documents would turn


class CollectionTexts(NamedTuple):
    """Texts of a collection, by id."""

    queries: Mapping[str, str]
    documents: Mapping[str, str]


def headline(one: CandidateDiagnosis, metric: str, k: int) -> str:
    """Return how much is missing and where it is lost."""
    gap = one.gap
    lost = gap.ordering_loss + gap.first_stage_loss
    misses = sum(stage.n for stage in one.stages if stage.stage != "retrieved")
    return (
        f"{metric} {formats.mean(gap.achieved)}, n={one.n:,}; {counted(misses, 'query')} without a "
        f"relevant document in the top {k}. {formats.mean(lost)} short of 1: "
        f"{formats.mean(gap.ordering_loss)} is lost to ranking within the top {gap.depth} and "
        f"{formats.mean(gap.first_stage_loss)} to documents beyond."
    )


def stages(one: CandidateDiagnosis, k: int, metric: str) -> Table:
    """Return a row per stage: what it means, how many queries ended there, and what is lost."""
    return table(
        {
            "stage": STAGES[each.stage],
            "queries": f"{each.n:,}",
            "share": formats.share(each.share),
            f"{metric} lost": formats.mean(each.loss),
            "what it means": STAGE_MEANINGS[each.stage].format(
                k=k, after_k=k + 1, depth=one.gap.depth, after_depth=f"{one.gap.depth + 1:,}"
            ),
        }
        for each in one.stages
    )


def name(cluster: FailureCluster) -> str:
    """Return what a cluster is about: phrases of its own or words, then its attributes.

    A sentence of a language model takes their place, and says who wrote it.
    """
    one_word = cluster.predicate and len(cluster.label) == 1  # says less than what members share
    about = cluster.title or ("" if one_word else ", ".join(cluster.label))
    if cluster.sentence:
        about = f"{cluster.sentence} [{cluster.sentence_by}]"
    said = f" {about.lower()} ".replace(";", " ")
    parts = cluster.predicate.split(" and ") if cluster.predicate else []
    kept = [  # a word that the name holds is not said twice
        each
        for each in parts
        if not each.startswith("'") or f" {each.strip(_QUOTE).lower()} " not in said
    ]
    if kept:
        return f"{about} ({' and '.join(kept)})" if about else cluster.predicate
    return about or "no distinctive words"


def words(cluster: FailureCluster) -> str:
    """Return the words of a cluster that its name does not say, "" where there are none."""
    label = ", ".join(cluster.label) if cluster.title else ""
    return f"{cluster.title}; {label}" if cluster.sentence and cluster.title else label


def tried(results: Results, one: CandidateDiagnosis) -> dict[Lever, str]:
    """Return what candidates of the suite that apply a remedy to this one gain, in words."""
    found: dict[Lever, str] = {}
    metric = results.metrics[0]
    edges = reading.comparisons_of(results, one.collection, metric, role="parent")
    for lever, (kind, change) in _KINDS.items():
        named = {each.name for each in results.candidates if each.kind == kind}
        mine = [
            each for each in edges if each.reference == one.candidate and each.candidate in named
        ]
        if mine:
            best = max(mine, key=lambda each: each.difference)
            gain = formats.signed(best.difference)
            found[lever] = f"{change} was measured: {best.candidate!r} {gain} on all queries"
    return found


def advice(
    cluster: FailureCluster,
    one: CandidateDiagnosis,
    metric: str,
    *,
    tried: Mapping[Lever, str] = MappingProxyType({}),
) -> str:
    """Return what to do about a cluster, what that was measured to gain, and what it is worth.

    The remedy is that of its strongest reason that is confirmed or supported. Its measured gain is
    that over all queries with the reason, in the cluster or not, and no part of what the cluster
    is worth. Without a reason, read the cluster.

    Args:
        cluster: of the candidate.
        one: what was found about it.
        metric: its text.
        tried: what candidates of the suite that apply a remedy gain, see `tried`.
    """
    found = {each.reason: each for each in one.findings}
    named = (found[key] for key in cluster.reasons if key in found)
    told = next(
        (each for each in named if each.lever != "none" and each.status in _SHOWN_STATUS), None
    )
    action = _READ_MORE if cluster.predicate else _READ
    if told is not None:
        known = "its gain was not measured"
        if told.lever in tried:
            known = tried[told.lever]
        elif told.recoverable is not None:
            known = f"measured on all queries: {formats.signed(told.recoverable)} {metric}"
        action = f"{_ACTIONS[told.lever]} ({told.title.lower()}; {known})"
    unit = "in the share of documents found" if cluster.mode == "documents" else metric
    gain = f"{formats.signed(cluster.impact)} {unit}"
    return f"{action}. If it scored like the rest: {gain} overall."


def details(cluster: FailureCluster, one: CandidateDiagnosis) -> list[str]:
    """Return what else is known of a cluster, a line each: its words and its reasons."""
    titles = {finding.reason: finding.title for finding in one.findings}
    told = []
    if listed := words(cluster):
        told.append(f"Its words: {listed}.")
    if cluster.inside and cluster.inside != cluster.label:
        told.append(f"Words of its failures: {', '.join(cluster.inside)}.")
    if cluster.reasons:
        named = "; ".join(titles.get(reason, reason) for reason in cluster.reasons)
        told.append(f"More frequent here than elsewhere: {named}.")
    return told


def clusters(one: CandidateDiagnosis, mode: str, metric: str) -> Table:
    """Return a row per cluster of a mode, largest impact first."""
    what = {"loss": metric, "difference": f"difference in {metric}", "documents": "share found"}
    return table(
        {
            "key": cluster.key,
            "about": name(cluster),
            _MODES[mode]: f"{cluster.n:,} ({formats.share(cluster.share)})",
            f"{what[mode]} inside": _value(cluster.mean, mode),
            "outside": _value(cluster.rest, mode),
            "loss ratio": (
                f"{cluster.ratio:.1f} [{cluster.ratio_low:.1f}, {cluster.ratio_high:.1f}]"
            ),
            "p": formats.p_value(cluster.p_adjusted),
            "impact": formats.signed(cluster.impact),
            "stability": stability(cluster.stability),
        }
        for cluster in one.clusters
        if cluster.mode == mode
    )


def sentence(cluster: FailureCluster, metric: str) -> str:
    """Return what a cluster is, as a sentence with its numbers."""
    what = "documents" if cluster.mode == "documents" else "queries"
    of = {
        "loss": metric,
        "difference": f"difference to {cluster.reference} in {metric}",
        "documents": "share found",
    }[cluster.mode]
    return (
        f"{cluster.n:,} {what} ({formats.share(cluster.share)}): {of} "
        f"{_value(cluster.mean, cluster.mode)} inside and {_value(cluster.rest, cluster.mode)} "
        f"outside, {formats.p_equals(cluster.p_adjusted)} over all regions; impact "
        f"{formats.signed(cluster.impact)}."
    )


def exemplars(cluster: FailureCluster, texts: CollectionTexts) -> Table:
    """Return a row per exemplar: the query, what came back first and what was relevant."""
    rows = []
    for each in cluster.exemplars:
        query, returned, relevant = exemplar(each, cluster, texts)
        rows.append(
            {
                "why": each.role,
                "query": query,
                "top document": returned,
                "relevant document": relevant,
            }
        )
    return table(rows)


def unjudged(found: Sequence[Unjudged], queries: Mapping[str, str]) -> Table:
    """Return a row per document of the queue to be judged."""
    return table(
        {
            "query": each.query,
            "text": beginning(queries, each.query),
            "document": each.document,
            "best rank": f"{each.rank:,}",
            "likelihood": f"{each.likelihood:.2f}",
            "why": each.why,
        }
        for each in found
    )


def stability(value: float) -> str:
    """Return how far a cluster comes back in subsamples.

    >>> stability(0.91), stability(0.5)
    ('0.91', '0.50, dubious')
    """
    return f"{value:.2f}" + (", dubious" if value < _DUBIOUS else "")


class Weighed(NamedTuple):
    """Findings by what stands behind them.

    Attributes:
        shown: confirmed by a change, or supported by the contrast.
        others: neither.
    """

    shown: list[Finding]
    others: list[Finding]

    @property
    def in_a_line(self) -> str:
        """The others by their titles, or ""."""
        listed = [
            f"{status.capitalize()}: {'; '.join(titles)}."
            for status in dict.fromkeys(each.status for each in self.others)
            if (titles := [each.title for each in self.others if each.status == status])
        ]
        return " ".join(listed)


def weighed(found: Sequence[Finding]) -> Weighed:
    """Return the findings that count, apart from those that do not."""
    shown = [each for each in found if each.status in _SHOWN_STATUS]
    return Weighed(shown, [each for each in found if each not in shown])


def findings(found: Sequence[Finding]) -> Table:
    """Return a row per reason: the contrast, what proves it, and what would fix it."""
    return table(
        {
            "reason": finding.title,
            "status": finding.status,
            "remedy": "" if finding.lever == "none" else remedy(finding.lever),
            "recoverable": (
                formats.UNKNOWN
                if finding.recoverable is None
                else formats.signed(finding.recoverable)
            ),
            "odds ratio alone [95%]": odds(finding),
            "p, all reasons": formats.p_value(finding.p_adjusted),
            "misses with it": _of(finding.misses_with, finding.misses),
            "hits with it": _of(finding.hits_with, finding.hits),
            "a miss has": finding.failure or formats.UNKNOWN,
        }
        for finding in found
    )


def odds(finding: Finding) -> str:
    """Return the odds ratio with its interval."""
    return odds_in_words(finding.odds_ratio, finding.low, finding.high)


def remedy(lever: str) -> str:
    """Return what a remedy is called, as in a decision."""
    return "fusion" if lever == "hybrid" else lever


def levers(one: CandidateDiagnosis) -> list[tuple[str, float]]:
    """Return what each confirmed remedy recovers at least, as measured, most first."""
    found = [(remedy(lever), each.points) for lever, each in one.levers().items() if each.reasons]
    return sorted((each for each in found if each[1] > 0), key=lambda each: -each[1])


def exemplar(
    found: Exemplar, cluster: FailureCluster, texts: CollectionTexts, *, length: int = _SHOWN_TEXT
) -> tuple[str, str, str]:
    """Return the query, what came back first, and what was relevant, each with its text.

    Of a cluster of documents, the relevant one that is a member is shown.
    """
    first = next((key for key in found.retrieved if key not in found.relevant), None)
    returned = (
        "nothing else" if first is None else f"{first}: {beginning(texts.documents, first, length)}"
    )
    relevant = found.relevant
    place = "not found" if found.rank is None else f"rank {found.rank:,}"
    if cluster.mode == "documents":
        relevant = [key for key in relevant if key in set(cluster.members)]
        place = "missed"
    wanted = (
        f"{relevant[0]} ({place}): {beginning(texts.documents, relevant[0], length)}"
        if relevant
        else "not in the corpus"
    )
    return f"{found.query}: {beginning(texts.queries, found.query, length)}", returned, wanted


def beginning(texts: Mapping[str, str], key: str, length: int = _SHOWN_TEXT) -> str:
    """Return the beginning of a text on one line.

    >>> beginning({"d": "one  two three"}, "d", 9)
    'one two …'
    """
    text = " ".join(texts.get(key, "").split())
    return text if len(text) <= length else f"{text[: length - 1].rstrip()} …"


def space(found: SpaceHealth) -> Table:
    """Return the measures of a space."""
    rows = {
        "hubness (skewness of k-occurrence)": f"{found.hub_skewness:.2f}",
        "share of top results that are hubs": formats.share(found.hub_share),
        "mean cosine of random documents": f"{found.mean_cosine:.3f}",
        "uniformity": f"{found.uniformity:.2f}".replace("-", formats.MINUS),
        "alignment": f"{found.alignment:.2f}",
        "median margin": formats.signed(found.margin_median),
    }
    if found.effective_rank is not None:
        rows["effective rank"] = f"{found.effective_rank:.0f} of {found.dimension:,}"
    return Table(("measure", "value"), tuple(rows.items()))


def by_score(found: Sequence[ScoreBounds]) -> list[ScoreBounds]:
    """Return the bounds of each candidate's score, the best score as judged first."""
    return sorted(found, key=lambda each: -each.mean)


def bounds_say_nothing(health: DataHealth) -> bool:
    """Tell whether unjudged documents leave every score anywhere within half of its range."""
    return all(each.high - each.low > _WIDE for each in health.bounds)


def bounds(health: DataHealth) -> Table:
    """Return the range of each candidate's score, for any grades of the unjudged documents.

    There are no rows where the ranges say nothing.
    """
    return table(
        {
            CANDIDATE: each.candidate,
            "as judged": formats.mean(each.mean),
            "at worst": formats.mean(each.low),
            "at best": formats.mean(each.high),
        }
        for each in by_score(health.bounds)
        if not bounds_say_nothing(health)
    )


def health(found: DataHealth) -> Iterator[str]:
    """Yield what is doubtful about a collection, as sentences."""
    if found.bounds and bounds_say_nothing(found):
        narrowest = min(found.bounds, key=lambda each: each.high - each.low)
        yield (
            "Few of the first results are judged, so unjudged documents leave every score open: "
            f"even that of {narrowest.candidate} could lie anywhere from "
            f"{formats.mean(narrowest.low)} to {formats.mean(narrowest.high)}."
        )
    fewest = sorted(found.reversible, key=lambda each: each.needed)
    yield from (each.sentence for each in fewest[:_LEADS])
    if others := fewest[_LEADS:]:
        yield (
            f"{counted(len(others), 'other lead')} {'vanishes' if len(others) == 1 else 'vanish'} "
            f"only if {others[0].needed:,} or more such documents are relevant."
        )
    if found.duplicate_groups:
        copies = sum(map(len, found.duplicate_groups))
        largest = found.duplicate_groups[0]
        named = ", ".join([*largest[:3], *(["…"] if len(largest) > 3 else [])])
        yield (
            f"{counted(copies, 'near-duplicate document')} in "
            f"{counted(len(found.duplicate_groups), 'group')}; the largest has "
            f"{len(largest):,} ({named})."
        )
    if found.leaks:
        first = joined(found.leaks[:3])
        yield f"{counted(len(found.leaks), 'query')} with the text of a document ({first})."
    count = len(found.unjudged)
    if count:
        likely = sum(each.likelihood >= 0.5 for each in found.unjudged)
        asked = f"{counted(count, 'unjudged result')} may be relevant, {likely:,}"
        if found.more_unjudged:
            asked = (
                f"{count + found.more_unjudged:,} unjudged results may be relevant. The "
                f"{count:,} likeliest are listed, {likely:,} of them"
            )
        yield (
            f"{asked} with a likelihood of 0.5 or more (a result: a query and a document). "
            "unjudged.*.csv in the results folder lists them for judging."
        )
    else:
        yield "No unjudged result looks relevant."


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({formats.share(part / whole) if whole else formats.UNKNOWN})"


def _value(value: float, mode: str) -> str:
    return formats.signed(value) if mode == "difference" else formats.mean(value)
