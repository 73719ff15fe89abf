"""Values of a diagnosis, as stored JSON from which reports and the app are rendered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

from harness.value import Value

LossStage = Literal[
    "retrieved", "rerankable", "deep", "lost", "rerank-miss", "rerank-harm", "absent"
]
Lever = Literal[
    "fine-tune",
    "hybrid",
    "rerank",
    "chunking",
    "expansion",
    "deduplicate",
    "centring",
    "multi-vector",
    "k1 and b",
    "fix the data",
    "fix the pipeline",
    "none",
]
Mode = Literal["loss", "difference", "documents"]
Status = Literal[
    "confirmed", "supported", "associated", "more frequent among hits", "not significant", "refuted"
]


class StageCount(Value):
    """How many judged queries of a candidate ended at a stage, and how much of the score is lost.

    Attributes:
        n: queries whose best relevant document ended there.
        share: of all judged queries.
        loss: of the mean score; of all stages, 1 minus the score. In nDCG it counts every relevant
            document, so a stage without queries can lose: what a perfect order of the documents
            down to the stage gains over one of those before it. In other metrics it counts queries.
    """

    stage: LossStage
    n: int
    share: float
    loss: float


class GapSplit(Value):
    """The distance of the mean score from 1, in exact parts that sum to 1 with the score.

    Attributes:
        achieved: the score.
        ordering_loss: what a perfect order of the first `depth` documents would add.
        first_stage_loss: what no order of them can add.
    """

    achieved: float
    ordering_loss: float
    first_stage_loss: float
    depth: int


class Exemplar(Value):
    """A query that stands for its cluster: what came back beside what was relevant.

    Attributes:
        query: its id.
        role: why it was chosen: typical failure, worst margin, or a success close by.
        retrieved: ids of the first documents of the run.
        relevant: ids of the documents judged relevant.
        rank: of the first relevant document, from 1, exact also beyond the run; None where the
            candidate does not rank it.
        margin: score of the last retrieved minus that of the best relevant; None if not known.
    """

    query: str
    role: Literal["typical", "worst", "success"]
    retrieved: list[str]
    relevant: list[str]
    rank: int | None
    margin: float | None


class FailureCluster(Value):
    """Queries (or documents) that fail together more than chance among all regions explains.

    Attributes:
        key: short name within the diagnosis, such as "c1"; stable for the same inputs.
        mode: "loss" of one candidate, "difference" to `reference`, or missed "documents".
        reference: the other candidate of a difference, else None.
        region: "topic" for a node of the tree, "attribute" for a cell of the lattice.
        predicate: the attributes in words, for an attribute cell; else "".
        title: what it is about, in phrases of its own; "" where only function words repeat.
        sentence: the same, as the language model `sentence_by` says it; "" where none was asked.
        label: content words that tell the members from their neighbours; where there is none, the
            text that stands for them.
        inside: words that tell failing members from succeeding ones.
        n: members; `share` of all.
        mean, rest: of the metric (of the signed difference in that mode) inside and outside.
        ratio, ratio_low, ratio_high: of the mean losses inside and outside, 95% interval.
        p_adjusted: max-T over all regions.
        impact: points of the metric that the whole set gains if the members were as the rest.
        stability: mean best Jaccard over subsamples; 0.75 and more is stable, below 0.6 dubious.
        reasons: keys of findings that are more frequent here than elsewhere, strongest first.
        members: ids of queries, or of documents in that mode.
    """

    key: str
    mode: Mode
    reference: str | None
    region: Literal["topic", "attribute"]
    predicate: str
    label: list[str]
    inside: list[str]
    n: int
    share: float
    mean: float
    rest: float
    ratio: float
    ratio_low: float
    ratio_high: float
    p_adjusted: float
    impact: float
    stability: float
    reasons: list[str]
    exemplars: list[Exemplar]
    members: list[str]
    title: str = ""
    sentence: str = ""
    sentence_by: str = ""


class Counterfactual(Value):
    """A cheap change that proves a reason, tried on the queries that show it.

    Attributes:
        change: what was changed, in a few words; with `unmoved`, what is then true.
        tried: queries that show the reason on which it was tried, hits too.
        failed: those of them that failed.
        recovered: those of `failed` whose relevant document then ranks within k.
        gain: mean gain of the metric over the queries tried, beyond that of a control of queries
            without the reason that fail as often, with its 95% interval.
        control_failed, control_recovered: the failed ones of the control.
        unmoved: those of `failed` whose ranking hardly moves, where that is the proof; else None.
    """

    change: str
    tried: int
    recovered: int
    gain: float
    low: float
    high: float
    failed: int
    control_failed: int
    control_recovered: int
    unmoved: int | None = None


class Finding(Value):
    """One explained reason for failures, as a contrast between misses and hits.

    Attributes:
        reason: key, such as "truncation".
        title: for people.
        sentence: the finding with its numbers.
        lever: what would fix it in a candidate of this kind.
        misses, misses_with: failed queries in which the reason could show, and those of them that
            show it. A failure is a miss within k, or what the sentence says.
        hits, hits_with: the same of the queries that succeed.
        odds_ratio, low, high: of showing the reason, misses against hits, 95% interval.
        p_adjusted: Holm over all reasons.
        failure: what makes a query a miss here, in words.
        adjusted_odds_ratio: with all other reasons held fixed, by one ridge logit; None where it
            cannot be told.
        status: "confirmed" by the contrast and a counterfactual, or by a counterfactual of the
            texts that show it alone, on enough queries; "supported" by the contrast alone;
            "associated" by the contrast where that proves nothing, see `Reason.symptom`; "more
            frequent among hits" by the contrast; "refuted" where the counterfactual recovers no
            more than without the reason; "not significant" else.
        recoverable: points of the metric over all queries that the lever brings to those with
            this reason, beyond what it brings to a control; None where no counterfactual measures
            it.
        queries: ids of the failed queries that show it.
        evidence: per query id of `queries`, one sentence.
    """

    reason: str
    title: str
    sentence: str
    lever: Lever
    misses: int
    misses_with: int
    hits: int
    hits_with: int
    odds_ratio: float
    low: float
    high: float
    p_adjusted: float
    status: Status
    recoverable: float | None
    counterfactual: Counterfactual | None
    queries: list[str]
    evidence: dict[str, str]
    adjusted_odds_ratio: float | None = None
    failure: str = ""


def proven_first(found: Iterable[Finding]) -> list[Finding]:
    """Return findings in the order of every page and file: the proven and most worth first."""
    ranks = get_args(Status)
    return sorted(
        found,
        key=lambda each: (
            ranks.index(each.status),
            -(each.recoverable or 0.0),
            each.p_adjusted,
            each.reason,
        ),
    )


class SpaceHealth(Value):
    """The shape of a vector space; it is reported and never gated.

    Attributes:
        hub_skewness: of how often each document is among the first k of a query.
        hub_share: share of all first-k places that hubs take.
        hubs: ids of the documents returned most often, at most 20.
        mean_cosine: of random pairs of documents; near 1 is a narrow cone.
        uniformity: log mean exp(-2 squared distance) of random pairs (Wang and Isola 2020).
        alignment: mean squared distance of queries and their relevant documents.
        effective_rank: exp of the entropy of the covariance's eigenvalues; None where fewer than
            two documents for each dimension limit it.
        dimension: of the vectors.
        margin_median: median over queries, best relevant score minus best other score.
        widths: score at each prefix of the vectors, as (dimensions, metric).
        sentences: what these mean, for people.
    """

    hub_skewness: float
    hub_share: float
    hubs: list[str]
    mean_cosine: float
    uniformity: float
    alignment: float
    effective_rank: float | None
    dimension: int
    margin_median: float
    widths: list[tuple[int, float]]
    sentences: list[str]


class TrainingCoverage(Value):
    """How far a cluster lies from the pairs that a candidate was trained on.

    Attributes:
        cluster: key of the failure cluster; "" for all queries.
        nearest: mean cosine of each member's nearest training query, in the neutral space.
        rest: the same of all other queries.
        examples: the nearest training queries, texts.
        to_add: ids of the members' relevant documents that lie farthest from every training query:
            write queries for them; none where the cluster is no farther than the rest.
    """

    cluster: str
    nearest: float
    rest: float
    examples: list[str]
    to_add: list[str]


class TrainingView(Value):
    """What the known training pairs of a candidate cover.

    Attributes:
        source: where the pairs come from.
        pairs: how many.
        coverage: of all queries, then of each cluster.
        sentences: what this means, for people.
    """

    source: str
    pairs: int
    coverage: list[TrainingCoverage]
    sentences: list[str]


class ScoreBounds(Value):
    """The range of a mean score if every unjudged document were irrelevant, or relevant.

    Attributes:
        candidate: whose score.
        mean: as judged.
        low, high: under the worst and the best assumption about what was retrieved unjudged.
    """

    candidate: str
    mean: float
    low: float
    high: float


class Reversal(Value):
    """A difference of two candidates whose sign depends on what nobody judged.

    Attributes:
        better, worse: candidates, by their means as judged.
        difference: of the means, above 0.
        unjudged: pairs of a query and an unjudged document that speak for the one behind.
        needed: how many of these, if relevant, take the difference to 0 or below.
        sentence: the same, for people.
    """

    better: str
    worse: str
    difference: float
    unjudged: int
    needed: int
    sentence: str


class Unjudged(Value):
    """A retrieved document without a judgement that is likely relevant, for a person to look at.

    Attributes:
        query, document: ids.
        rank: best rank among the candidates.
        candidates: names of those that return it above their best relevant document.
        likelihood: estimate between 0 and 1; the queue is sorted by it.
        why: one sentence.
    """

    query: str
    document: str
    rank: int
    candidates: list[str]
    likelihood: float
    why: str


class DataHealth(Value):
    """What is doubtful about the judgements and texts of a collection.

    Attributes:
        bounds: of every candidate.
        reversible: each clear difference whose sign flips inside the bounds, the easiest first.
        unjudged: the queue, most likely first.
        more_unjudged: further ones that may be relevant, for which the queue is too long.
        duplicate_groups: groups of document ids with (nearly) the same text.
        leaks: ids of queries whose text is that of a document.
    """

    collection: str
    bounds: list[ScoreBounds]
    reversible: list[Reversal]
    unjudged: list[Unjudged]
    duplicate_groups: list[list[str]]
    leaks: list[str]
    more_unjudged: int = 0


class Gain(NamedTuple):
    """What a lever is measured to bring on one collection.

    Attributes:
        points: of the metric, over all queries. Several reasons of one lever overlap, and the
            largest counts: of the confirmed ones, where there are any.
        reasons: titles of the confirmed ones.
    """

    points: float
    reasons: tuple[str, ...]


class CandidateDiagnosis(Value):
    """Everything found about one candidate on one collection.

    Attributes:
        n: judged queries.
        neutral: the space that clusters were looked for in, in words.
        detectable: the smallest topics that the scan would show, and how much they lose; a
            sentence.
    """

    candidate: str
    collection: str
    n: int
    stages: list[StageCount]
    gap: GapSplit
    neutral: str
    detectable: str
    clusters: list[FailureCluster]
    findings: list[Finding]
    space: SpaceHealth | None
    training: TrainingView | None
    warnings: list[str]

    def levers(self) -> dict[Lever, Gain]:
        """Return what every lever that was tried is measured to bring, by name."""
        tried = [each for each in self.findings if each.recoverable is not None]
        found = {}
        for lever in dict.fromkeys(each.lever for each in tried):
            mine = [each for each in tried if each.lever == lever]
            confirmed = [each for each in mine if each.status == "confirmed"]
            points = max(each.recoverable or 0.0 for each in confirmed or mine)
            found[lever] = Gain(points, tuple(each.title for each in confirmed))
        return found


class Topic(Value):
    """A part of the map of a collection's queries; no score has a part in it.

    Attributes:
        title: what its queries are about.
        n: queries.
        x, y: its middle, as in the columns of `diagnosis.parquet`.
    """

    collection: str
    title: str
    n: int
    x: float
    y: float


class Diagnosis(Value):
    """The diagnosis of a suite.

    Attributes:
        metric: whose loss is explained.
        k: rank down to which a query counts as a hit.
        discovery: how strictly clusters are reported.
        topics: names on the map of each collection, the largest first.
    """

    suite: str
    metric: str
    k: int
    discovery: Literal["strict", "exploratory"]
    candidates: list[CandidateDiagnosis]
    data: list[DataHealth]
    topics: list[Topic] = []

    def topics_of(self, collection: str) -> list[Topic]:
        """Return the names on the map of a collection."""
        return [each for each in self.topics if each.collection == collection]


def odds_in_words(value: float, low: float, high: float) -> str:
    """Return an odds ratio with its interval; above 100, where few cells decide, no figure.

    >>> odds_in_words(2.16, 1.26, 3.8), odds_in_words(21.7, 10.3, 145.9)
    ('2.2 [1.3, 3.8]', '21.7 [10.3, over 100]')
    >>> odds_in_words(2360, 146, 38112), odds_in_words(180, 20.3, 1600)
    ('over 100', 'over 100 [20.3, over 100]')
    """
    first, *bounds = (f"{each:.1f}" if each <= 100 else "over 100" for each in (value, low, high))
    return first if low > 100 else f"{first} [{', '.join(bounds)}]"
