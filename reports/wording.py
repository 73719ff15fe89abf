"""Wording: sentences about stored results that claim no more than the numbers show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.errors import counted
from harness.results.comparison import Comparison, Role
from harness.results.learning_curve import doubling, reach
from harness.results.training import forgetting_in_words, mining_in_words
from harness.results.values import CandidateResult, CollectionResult, Costs, Results
from harness.statistics.power import ALPHA
from harness.statistics.verdicts import Verdict, more_in_words
from harness.suite.kinds import TRAINED
from reports import formats
from reports.reading import (
    SHAPES,
    against_baseline,
    comparisons_of,
    family_gap,
    scores_of,
)

_NAMED = 3  # candidates in a sentence
KEY = ", ".join(f"{shape} {answer}" for answer, shape in SHAPES.items())


def headline(results: Results, collection: str) -> str:
    """Return one sentence on the best-scoring candidate against the baseline."""
    if any(found.name == collection and found.role == "general" for found in results.collections):
        return f"{collection} is a general collection: it measures forgetting and decides nothing."
    metric, baseline = results.metrics[0], results.baseline
    scores = scores_of(results, collection, metric)
    reference = scores[baseline]
    others = [score for score in scores.values() if score.candidate != baseline]
    stands = formats.with_interval(reference.mean, reference.low, reference.high)
    if not others:
        return (
            f"On {collection}, only the baseline {baseline} was run: {metric} {stands} "
            f"n={reference.n:,}. There is nothing to compare it with."
        )
    best = max(others, key=lambda score: score.mean)
    found = against_baseline(results, collection, metric)[best.candidate]
    gap = family_gap(found)
    proof = f"{gap}, {formats.p_equals(found.p_adjusted)}, n={found.n:,}"
    if found.verdict is not Verdict.BETTER and found.verdict is not Verdict.WORSE:
        proof += f": {verdict_in_words(found, margin=results.margin)}"
    if best.mean <= reference.mean:
        return (
            f"On {collection}, no candidate scores above the baseline {baseline} in {metric} "
            f"({stands}). The nearest is {best.candidate}, {proof}."
        )
    bias = (
        f" It is the best of {len(others)} compared with the baseline, so its lead is optimistic "
        "(selection bias)."
    )
    bias = bias if len(others) > 1 else ""
    return (
        f"On {collection}, {best.candidate} scores highest in {metric}: "
        f"{formats.mean(best.mean)} against {formats.mean(reference.mean)} of the baseline "
        f"{baseline}, {proof}.{bias}"
    )


def verdict_in_words(
    comparison: Comparison, *, with_count: bool = True, margin: float | None = None
) -> str:
    """Return the verdict in words; where it is inconclusive, also why.

    Args:
        comparison: of a run.
        with_count: also how many more queries would settle it; a decision counts them itself.
        margin: within which differences are equivalent, as the run had it.
    """
    answer, n = comparison.verdict, comparison.n
    if comparison.wins == comparison.losses == comparison.difference == 0:
        return f"the same on all {n} queries"
    if answer is not Verdict.INCONCLUSIVE:
        return str(answer)
    if comparison.low > 0 or comparison.high < 0:
        why = f"significant on its own, not after adjustment for all candidates, n={n:,}"
    elif comparison.mde < 1:
        why = (
            f"with n={n:,} an effect below ±{formats.mean(comparison.mde)} is not reliably "
            "detected (power under 0.80)"
        )
    else:  # of a difference between -1 and 1
        why = f"n={n:,} is too few"
    if not (with_count and comparison.more_queries):
        return f"{answer} ({why})"
    within = "the margin" if margin is None else f"{margin:g}"
    return (
        f"{answer} ({why}; about {more_in_words(comparison.more_queries)} to tell them apart or "
        f"show that they differ by less than {within})"
    )


def inconclusive(
    results: Results, collection: str, *, role: Role, metric: str = "", with_count: bool = True
) -> list[str]:
    """Return a sentence for every comparison in a metric that shows nothing clearly.

    Args:
        results: of a run.
        collection: name.
        role: comparisons with the baseline, or along the tree.
        metric: of the suite; "" takes the one that decides.
        with_count: as of `verdict_in_words`.
    """
    found = comparisons_of(results, collection, metric or results.metrics[0], role=role)
    return [
        f"{c.candidate if role == 'baseline' else f'{c.candidate} from {c.reference}'}: "
        f"{verdict_in_words(c, with_count=with_count, margin=results.margin)}."
        for c in found
        if c.verdict is Verdict.INCONCLUSIVE
    ]


def pair(found: Comparison) -> str:
    """Return the difference of two runs and what it shows, in a sentence."""
    gap = family_gap(found)
    return (
        f"{found.candidate} against {found.reference}: {found.metric} {gap}, "
        f"{formats.p_equals(found.p_adjusted)}, n={found.n:,}: {verdict_in_words(found)}."
    )


def chance_of_pairs(found: Sequence[Comparison]) -> str:
    """Return how to read p and MDE where every two runs were compared.

    Args:
        found: in one metric.
    """
    return (
        f"p is adjusted for {counted(len(found), 'comparison')} in one metric; the intervals are "
        f"simultaneous, and the verdicts rest on them. {MDE}"
    )


def chance(results: Results) -> str:
    """Return what intervals and p of differences are adjusted for."""
    if not results.comparisons:
        return "Nothing was compared."
    against = len(results.candidates) - 1
    edges = len({(c.candidate, c.reference) for c in results.comparisons if c.role == "parent"})
    family = f"the {counted(against, 'comparison')} with the baseline"
    if edges:
        family += f"; between other candidates, for {_steps(edges)} of the tree"
    adjusted = f"Intervals and p of differences are adjusted for {family}"
    return f"{adjusted} (max-T: all intervals hold together)."


def _steps(edges: int) -> str:
    return "the one step" if edges == 1 else f"the {edges} steps"


def error_rates(results: Results) -> list[str]:
    """Return how the family of comparisons is controlled, as sentences of the method."""
    return [
        (
            f"Family-wise error: if nothing differed, about {ALPHA:.0%} of families would hold a "
            f"p < {ALPHA}; at most 7% where losses or gains are rare and large (simulated, from "
            "30 queries)."
        ),
        (
            f"Equivalent: two one-sided tests within ±{results.margin:g}, the suite's margin, "
            "adjusted for the same family."
        ),
    ]


TASKS = "Non-retrieval tasks of mteb"
TASKS_NOTE = (
    "mteb's main score of each candidate, by mteb's own evaluator: one number without an interval. "
    "Decision and gates ignore it."
)


BOUNDS = (
    "Worst case: none of a candidate's own unjudged documents is relevant, and those of the others "
    "are. Best case: its own top ones are relevant."
)
MDE = (
    "MDE: minimum detectable effect, the smallest true difference detected with power 0.80; "
    "adjusted as p is."
)


def legend(results: Results) -> str:
    """Return how to read the tables of candidates and of edges, for a page that shows both."""
    has_edges = any(each.role == "parent" for each in results.comparisons)
    return f"{MDE} {chance(results)}" if has_edges else chance(results)


def training(results: Results) -> list[str]:
    """Return what to know about trained candidates: seeds, negatives, more pairs, forgetting."""
    return [
        *_seeds(results),
        *_tuned(results),
        *(mining_in_words(mined) for mined in results.mined),
        *(f"{reach(curve)} {doubling(curve)}" for curve in results.learning_curves),
        *(forgetting_in_words(found) for found in results.forgetting),
    ]


def _seeds(results: Results) -> Iterator[str]:
    """Yield how often candidates were trained, and what that means."""
    trained = [each for each in results.candidates if each.kind in TRAINED and each.seeds]
    once = [each.name for each in trained if len(each.seeds) == 1]
    if once:
        was, this = ("was", "this checkpoint") if len(once) == 1 else ("were", "these checkpoints")
        yield (
            f"{joined(once)} {was} trained once (seed {results.seed}): results hold for {this}; "
            "seed variance is not measured. Set finetune.seeds = 3 to measure it."
        )
    for candidate in trained:
        if len(candidate.seeds) > 1:
            yield _several(results, candidate)


def _several(results: Results, candidate: CandidateResult) -> str:
    metric = results.metrics[0]
    each = [
        f"{joined([formats.mean(value) for value in score.by_seed])} on {score.collection}"
        for score in results.scores
        if (score.candidate, score.metric) == (candidate.name, metric)
    ]
    return (
        f"{candidate.name} is the mean of {len(candidate.seeds)} trainings ({metric} "
        f"{'; '.join(each)}): its intervals cover new queries and new seeds."
    )


def _tuned(results: Results) -> Iterator[str]:
    """Yield which held-out data selected the checkpoints of which candidates."""
    for data in dict.fromkeys(data for each in results.candidates for data in each.tuned_on):
        names = [each.name for each in results.candidates if data in each.tuned_on]
        yield f"{data} selected the checkpoint of {joined(names)}: scores on it are biased upwards."


def warnings(results: Results) -> list[str]:
    """Return everything to know before trusting a number, as sentences."""
    found = [*results.failed, *results.warnings]
    found += [f"{each.name}: {text}" for each in results.candidates for text in each.leaks]
    for collection in results.collections:
        found += [f"{collection.name}: {warning}" for warning in collection.warnings]
        for score in scores_of(results, collection.name, results.metrics[0]).values():
            if score.missing:
                found.append(
                    f"{collection.name}: {score.candidate} returned nothing for {score.missing:,} "
                    f"of {score.n:,} judged queries; they score 0."
                )
        found += _widened(results, collection.name)
    return found


def timings(costs: Costs, collection: str) -> list[str]:
    """Return why latencies of a collection are not comparable, as sentences."""
    mine = [each for each in costs.costs if each.collection == collection]
    busy = [each for each in mine if each.timing_problem]
    found = []
    if busy:
        names = [each.candidate for each in busy]
        whose = joined(names) if len(names) <= _NAMED else f"{len(names)} of {len(mine)} candidates"
        if _NAMED < len(names) == len(mine):
            whose = f"all {len(names)} candidates"
        reasons = sorted(
            {reason.partition(": ")[2] or reason for each in busy for reason in each.busy}
        )
        shown = max(reasons, key=lambda reason: reason.startswith("load"))
        told = f"for example, {shown}" if len(reasons) > 1 else shown
        found.append(
            f"Latency of {whose} was measured on a busy machine and is not comparable ({told}). No "
            "rule uses it. The next run on a quiet machine measures it again, as does 'harness run "
            "SUITE --time-again'."
        )
    remote = [each for each in mine if each.network_ms_p50 is not None]
    if remote:
        figures = "; ".join(
            f"{each.candidate}: {formats.milliseconds(each.network_ms_p50)} of "
            f"{formats.milliseconds(each.query_ms_p50)} ms at the median"
            for each in remote
        )
        found.append(
            f"Latency includes the network and the provider or retriever behind it: {figures}."
        )
        prices = list(dict.fromkeys(price for each in remote for price in each.prices))
        if prices:
            found.append(f"Providers' prices: {'; '.join(prices)}.")
    if any(each.machine == "unknown" and each.query_ms_p95 is not None for each in mine):
        found.append("The machine's load during the latency measurement is unknown.")
    return found


def _widened(results: Results, collection: str) -> Iterator[str]:
    """Yield whose intervals allow for rare losses or gains that the queries may not show."""
    compared = comparisons_of(results, collection, results.metrics[0], role="baseline")
    for what in dict.fromkeys(c.unseen for c in compared if c.unseen):
        names = [c.candidate for c in compared if c.unseen == what]
        n = max(c.n for c in compared)
        yield (
            f"{collection}: the intervals of {joined(names)} are widened, and p adjusted: with "
            f"n={n:,}, rare {what} of up to 1 may be unseen."
        )


def described(results: Results, collection: CollectionResult) -> str:
    """Return the size of a collection, with the number of judged queries."""
    judged = [s.n for s in results.scores if s.collection == collection.name][:1]
    together = f" in {collection.clusters:,} clusters" if collection.clusters else ""
    queries = counted(collection.queries, "query")
    if judged == [collection.queries]:
        queries = counted(collection.queries, "judged query")
    elif judged:
        queries += f", {judged[0]:,} judged"
    cut = (
        f" in {collection.passages:,} passages of up to {collection.cut}"
        if collection.passages is not None
        else ""
    )
    return f"{counted(collection.documents, 'document')}{cut}, {queries}{together}"


def joined(names: list[str], *, last: str = "and") -> str:
    """Return names as a list in a sentence.

    >>> joined(["a"]), joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
