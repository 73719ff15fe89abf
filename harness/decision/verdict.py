"""Decision: the verdict with its evidence, as stored and shown."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from harness.decision.situation import Action

Strength = Literal["recommended", "leaning", "none"]


class Value(BaseModel):
    """A stored value: frozen, with every field known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(Value):
    """One rule: what it asked, whether it decided, and the evidence in a sentence."""

    name: str
    decided: bool
    evidence: str


class Regret(Value):
    """What taking one option would mean.

    Attributes:
        difference, low, high: against the baseline, with the simultaneous 95 % interval.
        p_worthwhile: probability that the gain is at least the worthwhile one.
        p_harm: probability that the loss is more than the margin.
        barred: why it can not be taken, or "".
    """

    candidate: str
    action: Action
    difference: float
    low: float
    high: float
    p_worthwhile: float
    p_harm: float
    query_ms_p95: float | None
    bytes_per_document: float | None
    training_minutes: float | None
    money_per_month: float | None
    barred: str


class Decision(Value):
    """The verdict with its evidence.

    Attributes:
        action: what to do.
        candidate: what to put in the baseline's place, or None.
        strength: how sure.
        sentence: the verdict in one sentence.
        n: judged queries.
        rules: in the order in which they were asked.
        regrets: of every option, the most promising first.
        more_queries: about how many more would settle it, where it is undecided.
        experiment: the cheapest one that could change the verdict.
        published: sentences about models that do better elsewhere.
        notes: warnings that a reader must know.
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
    regrets: list[Regret]
    more_queries: int | None
    experiment: str
    published: list[str]
    notes: list[str]


class Outcome(NamedTuple):
    """What a rule decides."""

    action: Action
    candidate: str | None
    strength: Strength
    sentence: str
    more_queries: int | None = None
