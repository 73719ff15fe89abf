"""Decision: the verdict with its evidence, as stored and shown."""

from __future__ import annotations

from typing import Literal, NamedTuple

from harness.decision.situation import Action, Migration
from harness.value import Value

Strength = Literal["recommended", "weak", "none"]
Reply = Literal["yes", "probably", "no", "open"]


class Rule(Value):
    """One rule: its name, whether it decided, and the evidence in a sentence."""

    name: str
    decided: bool
    evidence: str


class KindAnswer(Value):
    """Whether one kind of change pays off, which is the suite's question.

    Attributes:
        action: the kind.
        candidate: the best option of the kind; the answer is about it.
        sentence: the answer in one line.
    """

    action: Action
    reply: Reply
    candidate: str
    sentence: str


class OnCollection(Value):
    """The mean difference of one option on one of several collections, with its 95% interval."""

    candidate: str
    collection: str
    n: int
    difference: float
    low: float
    high: float


class OptionVerdict(Value):
    """What choosing one option would mean.

    Attributes:
        action: the kind of change that it is, by its last step.
        difference, low, high: against the baseline, with the simultaneous 95% interval.
        p_worthwhile: probability that the gain is at least the worthwhile one.
        p_adjusted: the same, adjusted for the number of options; the verdict rests on it. None in
            files of older versions.
        p_harm: probability that the loss is more than the margin.
        excluded: why it is excluded, or "".
        migration: what it takes to serve it; None where the baseline's index serves it too.
        price: its costs in units of the baseline's, in a phrase.
        why_not: why it is not chosen, in a phrase; "" where it is.
        reply: whether it pays off. None in files of older versions.
    """

    candidate: str
    action: Action
    difference: float
    low: float
    high: float
    p_worthwhile: float
    p_adjusted: float | None = None
    p_harm: float
    query_ms_p95: float | None
    bytes_per_document: float | None
    training_minutes: float | None
    money_per_month: float | None
    excluded: str
    migration: Migration | None = None
    price: str = ""
    why_not: str = ""
    reply: Reply | None = None


class ToJudge(Value):
    """Documents of a collection to judge first.

    Attributes:
        collection: name.
        file: that lists them, to be filled in and named in the collection's `judgements`.
        documents: how many.
        options: whose difference they could turn.
    """

    collection: str
    file: str
    documents: int
    options: list[str]


class Decision(Value):
    """The verdict with its evidence.

    Attributes:
        action: what to do.
        candidate: what to put in the baseline's place, or None.
        strength: how sure.
        sentence: what to do, and how sure that is.
        price: its gain and cost, in one sentence; where no option is chosen, why.
        answers: one for each kind of change in the suite.
        by_collection: where there are several, the chosen option's difference on each; the most
            promising option's where none is chosen.
        warnings: what a reader must know before acting on it, each a short line.
        to_judge: the documents to judge first, of each collection.
        n: judged queries.
        gain, margin: a worthwhile gain and a loss that matters; None in older files.
        rules: in the order in which they were applied.
        options: of every option, the most promising first.
        more_queries: about how many more would settle it, where it is undecided.
        experiment: the cheapest one that could change the verdict.
        published: sentences about models with better published scores.
        notes: other chunk sizes, and data-quality issues.
    """

    suite: str
    baseline: str
    metric: str
    n: int
    action: Action
    candidate: str | None
    strength: Strength
    sentence: str
    rules: list[Rule]
    options: list[OptionVerdict]
    more_queries: int | None
    experiment: str
    published: list[str]
    notes: list[str]
    gain: float | None = None
    margin: float | None = None
    price: str = ""
    answers: list[KindAnswer] = []
    by_collection: list[OnCollection] = []
    warnings: list[str] = []
    to_judge: list[ToJudge] = []


class Outcome(NamedTuple):
    """What a rule decides.

    Attributes:
        price: as of a decision; "" where an option is chosen, which has a price.
        to_judge: the documents to judge first, of each collection.
        to_measure: the option to measure first, or None.
    """

    action: Action
    candidate: str | None
    strength: Strength
    sentence: str
    price: str = ""
    more_queries: int | None = None
    warnings: tuple[str, ...] = ()
    to_judge: tuple[ToJudge, ...] = ()
    to_measure: str | None = None
