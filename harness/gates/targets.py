"""Targets: each gate on each collection that it asks about, with the queries in question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.arrays import Clusters, Indices, Values
from harness.collection import Collection
from harness.errors import ExitCode, HarnessError, did_you_mean, first_of
from harness.plan.plan import Plan
from harness.runs.metrics import parse_metric
from harness.suite.gates import AtMost, Gate, MustPass, NoWorse, Sampled, SampledGate, SliceSpec
from harness.suite.inputs import listed_queries
from harness.suite.spec import Suite


@dataclass(frozen=True, eq=False)
class Target:
    """One gate on one collection.

    Attributes:
        gate: its name.
        spec: what it asks.
        candidate: of whom.
        collection: where.
        rows: int64 [n], the queries in question, ascending.
        unknown: ids of a `must_pass` list that the collection does not have.
    """

    gate: str
    spec: Gate
    candidate: str
    collection: str
    rows: Indices = field(repr=False)
    unknown: tuple[str, ...] = ()
    asked: str = ""

    @property
    def sampled(self) -> Sampled:
        """The gate on the mean of a metric.

        Raises:
            TypeError: it asks something else.
        """
        if not isinstance(self.spec, Sampled):
            raise TypeError(f"no sampled gate: {self.spec!r}")
        return self.spec

    @property
    def slice(self) -> str | None:
        """Name of the slice, or None."""
        return self.spec.slice if isinstance(self.spec, SampledGate) else None

    @property
    def is_relative(self) -> bool:
        """Whether the stored baseline is needed."""
        return self.spec.relative

    @property
    def is_sequential(self) -> bool:
        """Whether it is looked at before all queries are asked."""
        return isinstance(self.spec, NoWorse) and self.spec.sequential

    @property
    def limit(self) -> float:
        """The number that the gate states."""
        return self.spec.limit


def find_targets(plan: Plan) -> tuple[Target, ...]:
    """Return every gate that is not off, on every collection that it asks about.

    Raises:
        HarnessError: exit code 2; the suite has no gate, or one names queries, a file or a k that
            cannot be. All problems at once.
    """
    suite = plan.suite
    if not suite.gates:
        raise HarnessError(
            f"{suite.where()}: no gates. Add a table such as [gates.quality] with "
            'rule = "no_worse".',
            exit_code=ExitCode.USAGE,
        )
    targets: list[Target] = []
    problems: list[str] = []
    for name, spec in suite.gates.items():
        if spec.level == "off":
            continue
        try:
            targets += _targets(plan, name, spec)
        except HarnessError as error:
            problems += error.problems
    if problems:
        raise HarnessError(dict.fromkeys(problems), exit_code=ExitCode.USAGE)
    return tuple(targets)


def _targets(plan: Plan, name: str, spec: Gate) -> Iterator[Target]:
    suite = plan.suite
    candidate = spec.candidate or suite.baseline
    collections = suite.collections_of("target") if spec.collection is None else [spec.collection]
    if isinstance(spec, SampledGate) and spec.slice is not None:
        collections = [suite.slices[spec.slice].collection]
    for collection in collections:
        texts = plan.collections[collection]
        rows: Indices = np.arange(len(texts.query_ids))
        unknown: tuple[str, ...] = ()
        if isinstance(spec, MustPass):
            if spec.k > plan.depth:
                raise _usage(
                    f"{suite.where('gates', name, 'k')}: gate '{name}': k is {spec.k}, but runs "
                    f"have {plan.depth} ranks. Give at most {plan.depth}."
                )
            rows, unknown = _listed(texts, _ids(spec, suite, suite.where("gates", name)))
        elif isinstance(spec, SampledGate) and spec.slice is not None:
            rows = slice_rows(suite, spec.slice, texts)
        asked: str
        match spec:
            case AtMost():
                asked = spec.cost
            case MustPass():
                asked = f"first {spec.k}"
            case _:
                asked = str(parse_metric(spec.metric or suite.metrics[0]))
        yield Target(name, spec, candidate, collection, rows, unknown, asked)


def clusters_of(plan: Plan, target: Target) -> Clusters | None:
    """Return the clusters of a target's queries, int64 [n]; None where each stands for itself."""
    clusters = plan.collections[target.collection].clusters
    return None if clusters is None else clusters[target.rows]


def values_of(plan: Plan, target: Target, candidate: str) -> Values:
    """Return what a candidate scores on a target's queries, float64 [n]; the mean of its seeds."""
    card = plan.scored[candidate, target.collection].result(plan.store)
    values: Values = np.array(card.values[target.asked])[target.rows]
    return values


def seed_values_of(plan: Plan, target: Target) -> Values:
    """Return what each training seed of a target's candidate scores, float64 [n, n_seeds]."""
    card = plan.scored[target.candidate, target.collection].result(plan.store)
    values: Values = np.array(card.of_each_seed(target.asked))[target.rows]
    return values


def slice_rows(suite: Suite, name: str, texts: Collection) -> Indices:
    """Return the rows of a slice's queries, ascending.

    Raises:
        HarnessError: exit code 2; it names queries that the collection does not have, or none.
    """
    spec, where = suite.slices[name], suite.where("slices", name)
    if spec.matching is not None:
        pattern = re.compile(spec.matching)
        found = [row for row, text in enumerate(texts.queries) if pattern.search(text)]
        if not found:
            raise _usage(
                f"{where}: slice '{name}': no query of '{texts.name}' matches {spec.matching!r}. "
                "Change the expression."
            )
        return np.array(found, dtype=np.int64)
    rows, unknown = _listed(texts, _ids(spec, suite, where))
    if unknown:
        hint = did_you_mean(unknown[0], texts.query_ids) if len(texts.query_ids) < 1000 else ""
        shown = first_of([f"'{key}'" for key in unknown], most=3)
        raise _usage(
            f"{where}: slice '{name}': '{texts.name}' has no judged query {shown}."
            f"{hint if hint.startswith(' Did') else ' Remove it.'}"
        )
    return rows


def _ids(spec: SliceSpec | MustPass, suite: Suite, where: str) -> Sequence[str]:
    return spec.queries or () if spec.file is None else listed_queries(suite, spec.file, where)


def _listed(texts: Collection, ids: Sequence[str]) -> tuple[Indices, tuple[str, ...]]:
    places = {key: row for row, key in enumerate(texts.query_ids)}
    rows = sorted({places[key] for key in ids if key in places})
    unknown = tuple(key for key in dict.fromkeys(ids) if key not in places)
    return np.array(rows, dtype=np.int64), unknown


def _usage(message: str) -> HarnessError:
    return HarnessError(message, exit_code=ExitCode.USAGE)
