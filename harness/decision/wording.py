"""Wording: the evidence of a decision as sentences; every number is stored in a field too."""

from __future__ import annotations

from collections.abc import Sequence

from harness.decision.compression import Shortening, is_cheaper, is_faster, is_larger, saves_time
from harness.decision.effects import Effect
from harness.decision.holes import ASYMMETRY, TIMES, Contradiction
from harness.decision.situation import Action, Failures, Option, OptionCost, Situation
from harness.errors import about, counted
from harness.providers.table import money
from harness.results.learning_curve import doubling, reach
from harness.statistics.distributions import largest_share
from harness.statistics.verdicts import signed

_CONFIDENCE = 0.95
KINDS = {
    Action.FIX_PIPELINE: "Pipeline",
    Action.SWITCH: "Switching",
    Action.FUSE: "Fusion",
    Action.RERANK: "Reranking",
    Action.FINE_TUNE: "Fine-tuning",
    Action.TRUNCATE: "Truncation",
    Action.COMPRESS: "Quantisation",
    Action.INDEX: "Approximate index",
    Action.ASK_BY_LESS: "Smaller query encoder",
}
REMEDIES = {  # of a diagnosis, that are a kind of change
    "fine-tune": Action.FINE_TUNE,
    "hybrid": Action.FUSE,
    "rerank": Action.RERANK,
}
_VERBS = {
    Action.FIX_PIPELINE: "Fix the pipeline: run the model as",
    Action.SWITCH: "Switch to",
    Action.FUSE: "Fuse: use",
    Action.RERANK: "Rerank: use",
    Action.FINE_TUNE: "Fine-tune: use",
}
_SHORTENED = {
    Action.TRUNCATE: "Truncate to",
    Action.COMPRESS: "Compress to",
    Action.INDEX: "Search through",
    Action.ASK_BY_LESS: "Have",
}
_BESIDE = {
    Action.TRUNCATE: "truncated to",
    Action.COMPRESS: "compressed to",
    Action.INDEX: "searched through",
}
_OUTCOMES = {"passes": "passes", "fails": "loses too much", "open": "is open"}


def advice(effect: Effect) -> str:
    """Return the action of choosing an option, such as ``Switch to 'b'``."""
    return f"{_VERBS[effect.option.named]} '{effect.option.name}'"


def gain_in_words(situation: Situation, effect: Effect) -> str:
    """Return an option's gain with P(gain), the probability that decides."""
    return (
        f"{signed(effect.difference)} with '{effect.option.name}', "
        f"P(gain ≥ {situation.spec.gain:g}) {probability_in_words(effect.p_adjusted)}"
    )


def judged(situation: Situation, effects: Sequence[Effect]) -> str:
    """Return the share of judged documents among the first results of baseline and options."""
    shares = [hole.judged for effect in effects for hole in effect.option.holes]
    mine = sum(share for share, _ in shares) / len(shares)
    others = sorted(share for _, share in shares)
    between = f"{others[0]:.0%}"
    if f"{others[-1]:.0%}" != between:
        between += f" to {others[-1]:.0%}"
    whose = f"'{effects[0].option.name}'" if len(effects) == 1 else "the options"
    k = situation.metric.partition("@")[2]
    return (
        f"{mine:.0%} of the {f'top {k}' if k else 'first results'} of '{situation.baseline}' are "
        f"judged, and {between} of those of {whose}"
    )


def not_open(concerned: Sequence[Effect]) -> str:
    """Return why no difference that decides is open."""
    if any(effect.shift for effect in concerned):
        return (
            "No deciding difference changes sign, even if unjudged documents are relevant up to "
            f"{TIMES} times as often as judged ones at the same rank."
        )
    if not any(hole.testable for each in concerned for hole in each.option.holes):
        return "Judging bias cannot be tested: only relevant documents are judged."
    points = f"{ASYMMETRY * 100:.0f} points"
    return (
        "No sign of judging bias: leaving out documents judged relevant, the share of judged "
        f"results is less than {points} higher in the list that leads than in the other."
    )


def too_close(situation: Situation) -> str:
    """Return that further queries do not settle whether a gain is worthwhile, as a predicate."""
    return (
        f"so close to the required gain of {situation.spec.gain:g} that more queries would hardly "
        "show on which side it lies"
    )


def opened(suspect: Sequence[Effect]) -> str:
    """Return which differences are open, and on what assumption."""
    if_so = f"Open: unjudged documents may be relevant up to {TIMES} times as often as judged ones"
    return " ".join([f"{if_so} at the same rank.", *map(turned, suspect)])


def turned(effect: Effect) -> str:
    """Return why a difference is open, in one line."""
    mine, its = effect.option.holes[0].judged
    return (
        f"'{effect.option.name}': {signed(effect.difference)} as judged, possibly "
        f"{signed(effect.difference + effect.shift)}; {its:.0%} of its first results are judged, "
        f"{mine:.0%} of the baseline's."
    )


def severe(situation: Situation, effect: Effect) -> str:
    """Return how many queries an option makes much worse, and the limit, in one line."""
    n, spec = situation.n_queries, situation.spec
    limit = spec.severe_losses_any_change
    if effect.option.action in _SHORTENED:
        limit = spec.severe_losses
    verb = "loses" if effect.severe == 1 else "lose"
    return (
        f"Severe losses: {effect.severe:,} of {counted(n, 'query')} "
        f"({effect.severe / n:.1%}) {verb} at least 0.5 {situation.metric} against "
        f"'{situation.baseline}' ({'no limit set' if limit is None else f'limit {limit:.3g}'}); "
        f"{effect.rescued / n:.1%} gain at least 0.5."
    )


def bills(situation: Situation) -> list[str]:
    """Return what providers bill, a line for candidates that are billed alike."""
    costs = {situation.baseline: situation.baseline_cost}
    costs |= {each.name: each.cost for each in situation.options}
    alike: dict[str, list[str]] = {}
    for name, cost in costs.items():
        parts = [
            f"{money(value)} {what}"
            for value, what in (
                (cost.usd_per_million_queries, "for a million queries"),
                (cost.usd_per_corpus, "to embed the corpus again"),
            )
            if value
        ]
        alike.setdefault(" and ".join(parts), []).append(f"'{name}'")
    return [
        f"Provider cost of {', '.join(named)}: {said}." for said, named in alike.items() if said
    ]


def unmeasured(effect: Effect) -> str:
    """Return what to measure before an option is eligible, in one line."""
    return (
        f"'{effect.option.name}' ({signed(effect.difference)}) is not eligible yet: "
        f"{' '.join(effect.option.unmeasured)}"
    )


def probability_in_words(value: float) -> str:
    """Return a probability with two decimals; none that was simulated is 0 or 1.

    >>> probability_in_words(0.912), probability_in_words(1.0), probability_in_words(0.0)
    ('0.91', '> 0.99', '< 0.01')
    """
    if value > 0.99:
        return "> 0.99"
    return "< 0.01" if value < 0.01 else f"{value:.2f}"


def names(effects: Sequence[Effect]) -> str:
    """Return the names with the most that each can gain."""
    return ", ".join(f"'{each.option.name}' (up to {signed(each.ceiling)})" for each in effects)


def compression_test(situation: Situation, tested: Shortening) -> str:
    """Return what the test of a compression found."""
    spec = situation.spec
    return (
        f"'{tested.option.name}' {_OUTCOMES[tested.outcome]}: {signed(tested.difference)}, at "
        f"worst {signed(tested.low)} (margin {spec.margin:g}, one-sided "
        f"{_percent(tested.confidence)}); at most {tested.severe_upper:.1%} of the queries lose "
        f"0.5 or more against '{tested.option.shortens}' (upper {_percent(tested.confidence)} "
        f"bound, cap {spec.severe_losses:.0%}), n={tested.n:,}."
    )


def shortened(option: Option, *, beside: bool = False) -> str:
    """Return the action of a compression, such as ``Truncate to 128 dimensions: use 'a/128'``.

    Args:
        option: the compression.
        beside: as a second action, once its full vectors are chosen.
    """
    if beside:
        return f"{_BESIDE.get(option.action, 'with')} {option.left} ('{option.name}')"
    return f"{_SHORTENED.get(option.action, 'Use')} {option.left}: use '{option.name}'"


def saving(tested: Shortening, full: OptionCost) -> str:
    """Return what a compression saves where that is not bytes, as a sentence after a space."""
    if not is_larger(tested, full):
        return ""
    if not saves_time(tested.option):
        return " It saves no bytes."
    if is_cheaper(tested, full):
        bills = (tested.option.cost, full)
        mine, whole = (money(each.usd_per_million_queries or 0.0) for each in bills)
        return f" It saves money, not bytes: {mine} instead of {whole} for a million queries."
    now, before = tested.option.cost.query_ms_p95, full.query_ms_p95
    if now is None or before is None:
        return " It saves no bytes, and its latency is not measured."
    times = f"{_plain(now)} instead of {_plain(before)} ms a query at p95"
    if is_faster(tested, full):
        return f" It saves latency, not bytes: {times}."
    return f" It saves no bytes, and less than a tenth of the latency: {times}."


def lost_at_most(tested: Shortening) -> str:
    """Return the largest loss of a compression that passes.

    A bound above 0 is a gain, and there is nothing to lose.
    """
    confidence = _percent(tested.confidence)
    seen = f"with {confidence} confidence (seen {signed(tested.difference)}, n={tested.n:,})"
    if tested.low >= 0:
        return f"nothing is lost {seen}"
    return f"the loss is at most {-tested.low:.3f} {seen}"


def _percent(confidence: float) -> str:
    return f"{100 * confidence:.3g}%"


def contradicted(found: Contradiction, limit: float) -> tuple[str, float]:
    """Return the share of contradicted judgements in words, and its lower 95% bound."""
    share = found.contradicted / found.agreed
    low = 1 - largest_share(found.agreed - found.contradicted, found.agreed, confidence=_CONFIDENCE)
    high = largest_share(found.contradicted, found.agreed, confidence=_CONFIDENCE)
    rounded = f"{share:.0%}" if share >= 0.005 else f"{found.contradicted:,}"  # not 0%
    text = (
        f"A lexical and a dense system rank the same document first on {found.agreed:,} queries; "
        f"on {rounded if found.contradicted else 'none'} of these [{low:.0%}, {high:.0%}] "
        f"both rank the relevant documents far down or miss them (limit {limit:.0%})."
    )
    return text, low


def failures(situation: Situation, usable: Sequence[Effect], chosen: str | None) -> str:
    """Return what a diagnosis found to have a remedy, and what was tried of it, or "".

    Of the baseline, and of the chosen candidate.
    """
    found = situation.failures
    if not found.n and not found.others:
        return ""
    told = _found(situation, situation.baseline, found, usable) if found.n else []
    if chosen in (None, situation.baseline):
        return " ".join(told)
    if chosen not in found.others:
        return " ".join([*told, f"'{chosen}' is not diagnosed: name it in [diagnosis]."])
    return " ".join([*told, *_found(situation, chosen, found.others[chosen], usable)])


def _found(situation: Situation, name: str, found: Failures, usable: Sequence[Effect]) -> list[str]:
    """Return what the diagnosis of a candidate found, in sentences."""
    pointed = [_pointed(situation, name, *each, usable) for each in found.supported.items()]
    several = "s" if sum(map(len, found.supported.values())) > 1 else ""
    told = [f"Supported reason{several}: {'; '.join(pointed)}."] if pointed else []
    if found.recoverable:
        listed = ", ".join(
            f"{_remedy(each.lever)} {signed(each.points)}" for each in found.recoverable
        )
        first = (
            f"Recoverable {situation.metric} of '{name}', each remedy measured alone "
            f"(n={found.n:,}): {listed}."
        )
        return [first, *told]
    none = "confirmed no remedy" if told else "found no reason that has a remedy"
    return [f"The diagnosis of '{name}' (n={found.n:,}) {none}.", *told]


def _pointed(
    situation: Situation, name: str, lever: str, reasons: Sequence[str], usable: Sequence[Effect]
) -> str:
    """Return which remedy supported reasons point to, and what is known of it, in a clause.

    Of the baseline, what the best option with it gains; of another candidate, whether it was tried.
    """
    action = REMEDIES.get(lever)
    points = "points" if len(reasons) == 1 else "point"
    said = f"{' and '.join(reasons)} {points} to {_remedy(lever)}"
    if name != situation.baseline:
        is_tried = action in situation.tried.get(name, frozenset())
        return f"{said}{'' if is_tried else f' (not tried on {name!r})'}"
    tried = [each for each in usable if each.option.named is action]
    if not tried:
        return said
    best, top = (max(each, key=lambda one: one.difference) for each in (tried, usable))
    gains = f"'{best.option.name}' gains {signed(best.difference)}"
    if top is best:
        return f"{said} ({gains})"
    return f"{said} ({gains}, less than '{top.option.name}' with {signed(top.difference)})"


def _remedy(lever: str) -> str:
    """Return a remedy of a diagnosis by the name of its kind of change, where it has one."""
    return KINDS[REMEDIES[lever]].lower() if lever in REMEDIES else lever


def forecasts(situation: Situation) -> list[str]:
    """Return what more training pairs would bring, a sentence for each learning curve."""
    return [f"{reach(curve)} {doubling(curve)}" for curve in situation.curves]


def headroom(situation: Situation, name: str) -> list[str]:
    """Return where a candidate loses its score, as one sentence or none."""
    gap = situation.gap if name == situation.baseline else situation.gaps.get(name)
    if gap is None:
        return []
    lost = gap.ordering_loss + gap.first_stage_loss
    if lost <= 0:
        return [f"'{name}' ranks perfectly."]
    sentence = (
        f"'{name}' is {lost:.3f} short of 1: {gap.ordering_loss:.3f} "
        f"({gap.ordering_loss / lost:.0%}) is lost to ranking within its top {gap.depth}, "
        f"{gap.first_stage_loss:.3f} to documents beyond."
    )
    return [sentence]


def milliseconds(value: float) -> str:
    """Return milliseconds as the tables show them.

    >>> milliseconds(0.8963), milliseconds(20.66), milliseconds(1194.2)
    ('0.90', '20.7', '1,190')
    """
    if value >= 100:
        return about(value)
    return f"{value:.{2 if value < 10 else 1}f}"


def _plain(value: float, *, digits: int = 4) -> str:
    """Return a number without an exponent: ``1,194``, ``17.5``."""
    return f"{value:,.0f}" if value >= 10 ** (digits - 1) else f"{value:.{digits}g}"
