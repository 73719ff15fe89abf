"""Gates: what `harness gate` asks of a candidate, and the slices of queries that it asks about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, get_args

from pydantic import Field

from harness.suite.table import Spec


class SliceSpec(Spec):
    """``[slices.<name>]``: a named subset of a collection's queries.

    One of the three says which queries.

    Attributes:
        collection: whose queries.
        queries: their ids.
        file: a file with one id a line.
        matching: a regular expression searched in the query's text.
    """

    collection: str
    queries: list[str] | None = Field(default=None, min_length=1)
    file: str | None = None
    matching: str | None = None


class GateSpec(Spec):
    """What every ``[gates.<name>]`` has.

    Attributes:
        candidate: None takes the suite's baseline, the pipeline in use, as it is now.
        collection: None takes each.
        level: "error" blocks, "warn" only warns, "off" is not evaluated.
        on_inconclusive: what an inconclusive result does.
        asks: the question in a few words, with {asked}, {limit} and {n}.
        states: the attribute that is the limit.
        relative: whether the stored baseline is needed.
    """

    asks: ClassVar[str]
    states: ClassVar[str] = "value"
    relative: ClassVar[bool] = False

    candidate: str | None = None
    collection: str | None = None
    level: Literal["error", "warn", "off"] = "error"
    on_inconclusive: Literal["warn", "fail"] = "warn"

    @property
    def limit(self) -> float:
        """The number that the gate states."""
        stated: float = getattr(self, self.states)
        return stated


class SampledGate(GateSpec):
    """A gate on the mean of a metric over a sample of queries.

    Attributes:
        metric: None takes the one that decides.
        slice: name of a slice, or None for all queries.
        min_queries: with fewer queries nothing is gated.
    """

    metric: str | None = None
    slice: str | None = None
    min_queries: int = Field(default=50, ge=2)


class NoWorse(SampledGate):
    """``rule = "no_worse"``: at most the margin is lost against the stored baseline.

    Attributes:
        margin: loss that is accepted; None takes 0.01, and 0.03 on a slice.
        sequential: look after every batch of queries, and ask no more once the answer is known; the
            error rate holds over all looks.
    """

    asks = "{asked} no worse by {limit}"
    states = "accepted_loss"
    relative = True

    rule: Literal["no_worse"]
    margin: float | None = Field(default=None, gt=0, lt=1)
    sequential: bool = False

    @property
    def accepted_loss(self) -> float:
        """The margin, or its default."""
        return self.margin or (0.03 if self.slice else 0.01)


class Better(SampledGate):
    """``rule = "better"``: more than `gain` is gained over the stored baseline."""

    asks = "{asked} better by more than {limit}"
    states = "gain"
    relative = True

    rule: Literal["better"]
    gain: float = Field(default=0.0, ge=0, lt=1)


class AtLeast(SampledGate):
    """``rule = "at_least"``: the candidate's own mean is `value` or more."""

    asks = "{asked} at least {limit}"

    rule: Literal["at_least"]
    value: float = Field(gt=0, le=1)


class AtMost(GateSpec):
    """``rule = "at_most"``: a measured cost is `value` or less."""

    asks = "{asked} at most {limit}"

    rule: Literal["at_most"]
    cost: Literal["query_ms_p95", "bytes_per_document", "parameters", "training_minutes"]
    value: float = Field(ge=0)


class MustPass(GateSpec):
    """``rule = "must_pass"``: these queries find a relevant document within the first `k`.

    Attributes:
        queries: their ids, or
        file: a file with one id a line.
    """

    asks = "{n} queries in the {asked}"
    states = "k"

    rule: Literal["must_pass"]
    queries: list[str] | None = Field(default=None, min_length=1)
    file: str | None = None
    k: int = Field(default=10, ge=1)


# The one place that lists rules: those on the mean of a metric, and all.
Sampled = NoWorse | Better | AtLeast
Gate = Sampled | AtMost | MustPass
RULES: Mapping[str, type[Gate]] = {
    get_args(each.model_fields["rule"].annotation)[0]: each for each in get_args(Gate)
}
