"""Clusters: what a scan found, measured and named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from harness.arrays import Flags, Indices, Values
from harness.diagnosis.regions import LARGEST_SHARE, SMALLEST, WITHIN, Regions
from harness.diagnosis.scan import Discovery, FoundRegion, scan_regions, stabilities
from harness.diagnosis.titles import title
from harness.diagnosis.topics import Points
from harness.diagnosis.values import Mode
from harness.diagnosis.words import Terms, short
from harness.retrieval.embeddings import unit_length
from harness.statistics.distributions import normal_quantile
from harness.statistics.units import finite

SHOWN = 4  # terms of a label
_SHORTLIST = 40
_NEIGHBOURS = 5  # times as many texts: those around, from which a label tells apart
_CENTRAL = 100  # members whose phrases may be its title
_AWAY = 0.5  # of the way from the middle of those around, which a central member lies
_LEAST_Z = 1.5  # of a term's log-odds
_FEWEST, _FEWEST_SHARE = 2, 0.1  # texts of a side that hold a term; fewer are strays
_AN_EXAMPLE = 60  # characters of a text that stands for a topic without words of its own
_TYPICAL = 3  # failures that stand for a cluster
_POWER = 0.8
_WORSE = (2 / 3, 1 / 3)  # of what is left between the mean loss and a sure failure


class Ratio(NamedTuple):
    """Ratio of two mean losses, with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class FoundCluster:
    """Texts that fail together more than chance among all regions explains.

    Attributes:
        members: int64, rows, ascending.
        region, predicate, p_adjusted, stability: as in `FailureCluster`.
        z: of its mean loss.
        loss, rest: mean losses inside and outside.
        ratio: of the two.
        impact: fall of the mean loss of all if the members lost as much as the rest.
        name: what it is about.
        inside: words that tell its failing members from the others.
        typical: rows of failing members nearest to the middle of them.
        success: row of the member nearest to them that does not fail, or None.
    """

    members: Indices
    region: Literal["topic", "attribute"]
    predicate: str
    z: float
    p_adjusted: float
    loss: float
    rest: float
    ratio: Ratio
    impact: float
    stability: float
    name: Name
    inside: tuple[str, ...]
    typical: tuple[int, ...]
    success: int | None


@dataclass(frozen=True, eq=False)
class Scan:
    """What a scan found, and what it could have found.

    Attributes:
        clusters: largest impact first; no two share a text.
        regions: how many were looked at.
        threshold: z that a region needs, of the kind that needs least.
        detectable: smallest topics that the scan would show, a sentence.
    """

    clusters: tuple[FoundCluster, ...]
    regions: int
    threshold: float
    detectable: str


def scan(
    regions: Regions,
    losses: Values,
    *,
    groups: Indices | None = None,
    mode: Mode = "loss",
    discovery: Discovery = "strict",
    seed: int,
) -> Scan:
    """Find the regions where losses are high.

    Args:
        regions: of the queries, or of the documents; they serve every candidate.
        losses: float64 [n], larger is worse: 1 - metric; the reference's score minus the
            candidate's; the share of queries that miss a relevant document.
        groups: int [n], texts whose losses move together; None where all are independent.
        mode: what the losses are.
        discovery: how strictly clusters are reported.
        seed: of everything that draws.

    Raises:
        ValueError: not one finite loss for each text.
    """
    losses = finite(losses)
    if losses.shape != (regions.n,):
        raise ValueError(f"{regions.n} texts need as many losses, got {losses.shape}")
    if len(regions.predicates) == 0:
        few = f"{regions.n} texts are too few to search for clusters of {SMALLEST} or more."
        return Scan((), 0, float("inf"), few)
    searched = scan_regions(regions, losses, groups=groups, discovery=discovery, seed=seed)
    stable = stabilities(regions, losses, searched, seed=seed)
    found = [
        _measure(regions, losses, each, stability)
        for each, stability in zip(searched.regions, stable, strict=True)
    ]
    return Scan(
        clusters=tuple(sorted(found, key=lambda each: (-each.impact, each.members[0]))),
        regions=len(regions.predicates),
        threshold=float(searched.needed.min()),
        detectable=_detectable(losses, searched.needed, mode),
    )


def _measure(
    regions: Regions, losses: Values, found: FoundRegion, stability: float
) -> FoundCluster:
    members = found.members
    inside = np.zeros(regions.n, dtype=bool)
    inside[members] = True
    loss, rest = float(losses[inside].mean()), float(losses[~inside].mean())
    failing = inside & (losses > losses.mean())
    order = np.argsort(_distances(regions, failing), kind="stable") if failing.any() else members
    succeeding = order[(inside & ~failing)[order]] if failing.any() else []
    predicate, name = regions.predicates[found.region], name_region(regions, inside)
    return FoundCluster(
        members=members,
        region="attribute" if predicate else "topic",
        predicate=_named(predicate, regions, members, name),
        z=found.z,
        p_adjusted=found.p_adjusted,
        loss=loss,
        rest=rest,
        ratio=_ratio(np.maximum(losses, 0), inside),
        impact=len(members) * (loss - rest) / regions.n,
        stability=stability,
        name=name,
        inside=distinctive_terms(regions.terms, failing, inside & ~failing),
        typical=tuple(order[failing[order]][:_TYPICAL].tolist()),
        success=int(succeeding[0]) if len(succeeding) else None,
    )


def _named(predicate: str, regions: Regions, members: Indices, name: Name) -> str:
    """Return the attributes of a cluster, where they hold within a topic with what that is about.

    It is the smallest of the topics that hold all members. Function words and numbers are no
    attribute that a reader needs beside a title.
    """
    if not predicate.endswith(WITHIN):
        content = {f"'{regions.terms.shown[at]}'" for at in np.flatnonzero(regions.terms.content)}
        parts = predicate.split(" and ")
        kept = [each for each in parts if each in content or not each.startswith("'")]
        return " and ".join(kept if name.title else parts)
    holding = [each for each in regions.topics if np.isin(members, each).all()]
    inside = np.zeros(regions.n, dtype=bool)
    inside[min(holding, key=len)] = True
    topic = name_region(regions, inside)
    about = topic.title or ", ".join(topic.terms)
    if about and about in (name.title, ", ".join(name.terms)):
        return predicate.replace(WITHIN, ", within this topic")
    if not about:
        central = int(np.where(inside, _distances(regions, inside), np.inf).argmin())
        about = short(regions.texts[central], length=_AN_EXAMPLE)
    return predicate.replace(WITHIN, f", in a topic with “{about}”")


def _distances(regions: Regions, rows: Flags) -> Values:
    """Return the squared distance of every text to the middle of some."""
    away = regions.points - regions.points[rows].mean(axis=0)
    distances: Values = np.square(away).sum(axis=1)
    return distances


def _ratio(losses: Values, inside: Flags) -> Ratio:
    """Return the ratio of two means with its interval on the log scale, by the delta method.

    Half a unit of loss is added to both sides, as in a table of counts: a side without any loss
    has a ratio too.
    """
    sides = (losses[inside], losses[~inside])
    means = [(side.sum() + 0.5) / (len(side) + 1) for side in sides]
    variance = sum(
        (side.var() + 0.25 / len(side)) / (len(side) * mean**2)
        for side, mean in zip(sides, means, strict=True)
    )
    value = means[0] / means[1]
    factor = float(np.exp(normal_quantile(0.975) * np.sqrt(variance)))
    return Ratio(float(value), float(value / factor), float(value * factor))


def _detectable(losses: Values, needed: Values, mode: Mode) -> str:
    """Return the sentence about the smallest topic that the scan would show."""
    n, mean, spread = len(losses), float(losses.mean()), float(losses.std())
    what = "documents" if mode == "documents" else "queries"
    threshold = float(needed[0] if np.isfinite(needed[0]) else needed.min())
    found: dict[int, str] = {}
    for step in _WORSE:
        worse = step * (1.0 if mode == "difference" else 1 - mean)
        size = _smallest(n, worse / max(spread, 1e-12), threshold)
        if size is not None:
            loss = f"{worse:+.2f}" if mode == "difference" else f"{mean + worse:.2f}"
            found[size] = f"at least {size:,} {what} ({size / n:.1%}) with a mean loss of {loss}"
    if not found:
        return f"With {n:,} {what} a cluster would not stand out from the mean loss of {mean:.2f}."
    return (
        f"With {n:,} {what} (mean loss {mean:.2f}), a topical cluster is found with power 0.80 if "
        f"it has {', or '.join(found.values())}; smaller or weaker ones are likely missed."
    )


def _smallest(n: int, effect: float, threshold: float) -> int | None:
    """Return the smallest slice that reaches a z with the power asked for, None where none does.

    Args:
        n: texts.
        effect: mean loss of the slice above that of all, in standard deviations.
        threshold: z that is needed.
    """
    sizes = np.arange(SMALLEST, int(np.ceil(LARGEST_SHARE * n)) + 1)
    z = effect * np.sqrt(sizes * (n - 1) / (n - sizes))
    enough = np.flatnonzero(z >= threshold + normal_quantile(_POWER))
    return int(sizes[enough[0]]) if len(enough) else None


class Name(NamedTuple):
    """What some texts are about; empty where they hold function words alone.

    Attributes:
        title: phrases of their own, for people.
        terms: words that tell them from those around them, strongest first.
    """

    title: str
    terms: tuple[str, ...]


def name_region(regions: Regions, inside: Flags) -> Name:
    """Return what some texts are about, by their words and those of the texts around them."""
    order = np.argsort(_distances(regions, inside), kind="stable")
    mine, others = order[inside[order]], order[~inside[order]]
    around = np.zeros_like(inside)
    around[others[: _NEIGHBOURS * len(mine)]] = True
    central = _centralities(regions.points, inside, around)
    nearest = mine[np.argsort(-central[mine], kind="stable")][:_CENTRAL].tolist()
    return Name(
        title(
            {regions.texts[row]: float(central[row]) for row in nearest},
            regions.terms,
            inside=inside,
            around=around,
        ),
        distinctive_terms(regions.terms, inside, around),
    )


def _centralities(points: Points, inside: Flags, around: Flags) -> Values:
    """Return how central each text is among some, float64 [n], from 0 for half of them to 1.

    By the cosine to their middle, away from that of the texts around them.
    """
    middle = points[inside].mean(axis=0)
    if around.any():
        middle = middle - _AWAY * points[around].mean(axis=0)
    cosines = unit_length(points) @ unit_length(middle[None])[0]
    least, most = np.median(cosines[inside]), cosines[inside].max()
    found: Values = np.clip((cosines - least) / max(most - least, 1e-12), 0, 1)
    return found


def distinctive_terms(
    terms: Terms, inside: Flags, outside: Flags, *, shown: int = SHOWN
) -> tuple[str, ...]:
    """Return the terms that stand more often in some texts than in others, strongest first.

    Class-based TF-IDF (Grootendorst 2022) makes a short list, which is put in order by the z of
    the log-odds ratio with an informative Dirichlet prior, the words of all texts (Monroe, Colaresi
    & Quinn 2008). Left out are function words, terms that share a word with a stronger one, and
    those that fewer than a tenth of the texts hold.

    Args:
        terms: of all texts.
        inside: bool [n_texts], the texts to name.
        outside: bool [n_texts], those to tell them from.
        shown: terms at most; fewer where fewer tell the sides apart.
    """

    def held(texts: Flags) -> Values:
        """Return how many of the texts hold each term, float64 [n_terms]."""
        present: Any = terms.counts[np.flatnonzero(texts)]
        return np.bincount(present.indices, minlength=terms.counts.shape[1]).astype(np.float64)

    ours, theirs, everyone = held(inside), held(outside), held(np.ones_like(inside))
    fewest = max(_FEWEST, _FEWEST_SHARE * int(inside.sum()))
    usable = (ours >= fewest) & terms.content
    both = ours + theirs
    # tf * log(1 + A / f): A the mean words of a class, f the term's count in both.
    weights = np.where(usable, ours * np.log1p(both.sum() / 2 / np.maximum(both, 1)), 0)
    shortlist = np.argsort(-weights, kind="stable")[: min(_SHORTLIST, np.count_nonzero(weights))]
    z = _log_odds(ours, theirs, everyone)
    words: list[str] = []
    used: set[str] = set()
    for place in shortlist[np.argsort(-z[shortlist], kind="stable")].tolist():
        stems = set(terms.stems[place])
        if z[place] < _LEAST_Z or len(words) == shown:
            break
        if not stems & used:
            used |= stems
            words.append(terms.shown[place])
    return tuple(words)


def _log_odds(ours: Values, theirs: Values, everyone: Values) -> Values:
    """Return z of each term's log-odds ratio; the prior weighs as much as the smaller side."""
    strength = max(1.0, min(ours.sum(), theirs.sum()))
    prior = everyone * (strength / max(1.0, everyone.sum())) + 0.01
    total = prior.sum()

    def odds(counts: Values) -> Values:
        logs: Values = np.log((counts + prior) / (counts.sum() + total - counts - prior))
        return logs

    variance = 1 / (ours + prior) + 1 / (theirs + prior)
    z: Values = (odds(ours) - odds(theirs)) / np.sqrt(variance)
    return z
