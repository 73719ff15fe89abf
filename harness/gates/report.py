"""Report: what every gate found, as stored JSON from which the other files are rendered."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from harness.errors import ExitCode
from harness.value import Value

if TYPE_CHECKING:
    from harness.gates.targets import Target


class State(StrEnum):
    """The answer of one gate on one set of queries."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_GATED = "not gated"
    ERROR = "error"


class LostQuery(Value):
    """A query of a failed gate, among those that lost the most."""

    query: str
    text: str
    baseline: float
    candidate: float


class GateResult(Value):
    """One gate on one collection or slice. The same inputs give the same bytes.

    Attributes:
        asked: the metric, the cost, or "first k".
        reason: the answer as a sentence.
        n: queries.
        limit: the margin, the gain, the value or k that the gate states.
        baseline, value: means, or the exact cost.
        difference, low, high: candidate minus baseline with its 95% interval, simultaneous over
            slices; of `at_least` the interval is that of the mean. Without an interval where
            nothing changed, which takes no inference.
        bound: lower bound of 95% with the phantom loss, which is what passes `no_worse`.
        mde: true difference that so many queries would show with a power of 0.80.
        worst: queries that lost the most, of a gate that failed.
        source: the queries and grades that it is estimated from; "" by the collection's judgements.
        model_alone: what a model's grades alone would have said; None where there are none.
        measured: what is never the same twice, such as a time; for people, not stored.
    """

    gate: str
    rule: str
    level: Literal["error", "warn"]
    on_inconclusive: Literal["warn", "fail"]
    candidate: str
    collection: str
    slice: str | None
    asked: str
    state: State
    reason: str
    n: int
    limit: float
    baseline: float | None = None
    value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    mde: float | None = None
    worst: list[LostQuery] = Field(default=[])
    source: str = ""
    model_alone: State | None = None
    measured: str = Field(default="", exclude=True)

    @property
    def exit_code(self) -> ExitCode:
        """What this finding alone asks the command line to return."""
        if self.state is State.ERROR:
            return ExitCode.STAGE
        if self.level == "error" and self.state is State.FAIL:
            return ExitCode.GATE_FAILED
        refused = self.state is State.INCONCLUSIVE and self.on_inconclusive == "fail"
        return ExitCode.INCONCLUSIVE if refused and self.level == "error" else ExitCode.OK

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval that decides, or None: a bound below that passes and an end that fails."""
        low = self.low if self.bound is None else self.bound
        return None if low is None or self.high is None else (low, self.high)

    @property
    def told(self) -> str:
        """The reason, with what was measured."""
        return f"{self.reason} {self.measured}".strip()

    @property
    def place(self) -> str:
        """Gate, and the slice if it has one."""
        return f"{self.gate} [{self.slice}]" if self.slice else self.gate


class GateReport(Value):
    """What all gates of a suite found.

    Attributes:
        schema_version: of this JSON.
        state: the worst answer among the gates that can block; among all where none can.
        exit_code: of the command line.
        warnings: about the candidates, each a sentence.
        old_baseline: a warning where the stored baseline is old, or ""; no two days say the same,
            so that it is for people and not stored.
    """

    schema_version: int = 1
    suite: str
    baseline: str
    state: State
    exit_code: int
    findings: list[GateResult]
    warnings: list[str] = Field(default=[])
    old_baseline: str = Field(default="", exclude=True)

    @property
    def all_warnings(self) -> list[str]:
        """The warnings, with that about an old baseline."""
        return [*self.warnings, *([self.old_baseline] if self.old_baseline else [])]


def gate_result(target: Target, state: State, reason: str, **numbers: Any) -> GateResult:
    """Return a finding of a target."""
    spec = target.spec
    return GateResult(
        gate=target.gate,
        rule=spec.rule,
        level="warn" if spec.level == "warn" else "error",
        on_inconclusive=spec.on_inconclusive,
        candidate=target.candidate,
        collection=target.collection,
        slice=target.slice,
        asked=target.asked,
        state=state,
        reason=reason,
        limit=target.limit,
        **{"n": len(target.rows), **numbers},
    )


_WORST_CODES = (ExitCode.STAGE, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE)
_WORST_STATES = (State.ERROR, State.FAIL, State.INCONCLUSIVE, State.PASS)


def conclude(
    findings: Iterable[GateResult], *, suite: str, baseline: str, warnings: Iterable[str] = ()
) -> GateReport:
    """Return the report of some findings: a failure counts more than an inconclusive answer."""
    found = list(findings)
    codes = {each.exit_code for each in found}
    blocking = [each for each in found if each.level == "error"] or found
    states = {each.state for each in blocking}
    return GateReport(
        suite=suite,
        baseline=baseline,
        state=next((state for state in _WORST_STATES if state in states), State.NOT_GATED),
        exit_code=int(next((code for code in _WORST_CODES if code in codes), ExitCode.OK)),
        findings=found,
        warnings=list(warnings),
    )
