"""Baseline: stored per-query scores of the pipeline in use, to pair a later one with.

It lies on disk as one Parquet file, with its description in the schema.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from harness.arrays import Clusters, Values
from harness.collection import Collection
from harness.environment import today, versions
from harness.errors import ExitCode, HarnessError, cannot_write
from harness.gates.targets import Target
from harness.hashing import digest
from harness.plan.plan import Plan
from harness.results.values import CandidateResult
from harness.runs.run import Run
from harness.statistics.units import SAME, estimate, units
from harness.suite.spec import Suite
from harness.value import Value

FORMAT = 1
OLD_DAYS = 90  # a gate warns of an older baseline
_ABOUT, _DIGEST = b"embedding_harness", b"embedding_harness_digest"
_RANKED = "ranked documents"  # a column beside those of the metrics

Spread = dict[str, dict[str, float]]


class StoredCollection(Value):
    """The keys of what the scores belong to; `judged` is whether they are any."""

    source: str
    split: str
    documents_key: str
    queries_key: str
    judgements_key: str
    exclude_identical_ids: bool
    queries: int
    judged: bool = True


class Recorded(Value):
    """The spread of an older baseline."""

    date: str
    sd: Spread


class About(Value):
    """What is known of a stored baseline besides its scores.

    Attributes:
        candidate: what was in use; its weights' key, prompts, width.
        sd: by collection and metric, the standard deviation of per-query differences between the
            suite's other candidates and this one (median over them), as large as clusters of
            queries make it look; absent where there is none.
        history: spreads of the baselines before, oldest first.
        rankings: by collection, a digest of each training seed's ranking; empty in a file from
            before they were stored.
        file: the suite file, relative to the folder of the baseline; None in an older baseline.
    """

    format: int = FORMAT
    suite: str
    date: str
    candidate: CandidateResult
    metrics: list[str]
    collections: dict[str, StoredCollection]
    versions: dict[str, str]
    sd: Spread
    history: list[Recorded] = Field(default=[])
    rankings: dict[str, list[str]] = Field(default={})
    file: str | None = None


@dataclass(frozen=True)
class StoredScores:
    """Per-query scores on one collection.

    Attributes:
        query_ids: of the n queries.
        values: each metric's float64 [n].
        ranked: ids of the first documents of each query, to the cutoff of the metric that decides,
            in the ranking of the first training seed; None in a file from before they were stored,
            and for a metric without a cutoff at a rank.
    """

    query_ids: tuple[str, ...]
    values: Mapping[str, Values] = field(repr=False)
    ranked: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class StoredBaseline:
    """A baseline as it lies on disk."""

    about: About
    scores: Mapping[str, StoredScores]

    def spread(self, collection: str, metric: str) -> float | None:
        """Return the stored standard deviation of differences, or None."""
        return self.about.sd.get(collection, {}).get(metric)


def make_baseline(plan: Plan, *, file: str | None = None) -> StoredBaseline:
    """Return the baseline of a finished plan: the suite's baseline candidate as it is now.

    Args:
        plan: finished.
        file: the suite file, relative to the folder that the baseline is written to.
    """
    from harness.results.gathering import candidate_result

    suite = plan.suite
    metrics = [str(metric) for metric in suite.parsed_metrics()]
    scores = {}
    for name, texts in plan.collections.items():
        card = plan.scored[suite.baseline, name].result(plan.store)
        values = {metric: np.array(card.values[metric]) for metric in metrics}
        ranked = None
        if not suite.deciding_metric.in_tokens:
            run = plan.scored[suite.baseline, name].run_stage.result(plan.store)
            ranked = tuple(
                tuple(texts.document_ids[document] for document in row if document >= 0)
                for row in run.documents[:, : suite.deciding_metric.cutoff].tolist()
            )
        scores[name] = StoredScores(texts.query_ids, values, ranked)
    about = About(
        suite=suite.name,
        date=today(),
        candidate=candidate_result(plan, suite.baseline),
        metrics=metrics,
        collections={
            name: _keys(texts, suite.collections[name].source)
            for name, texts in plan.collections.items()
        },
        versions=versions(),
        sd=_spreads(plan, scores, metrics),
        rankings={name: rankings_of(plan, suite.baseline, name) for name in plan.collections},
        file=file,
    )
    return StoredBaseline(about, scores)


def old_baseline(about: About, *, suite_file: str) -> str:
    """Return a warning where a baseline was stored more than `OLD_DAYS` ago, or "".

    Losses within the margin add up unseen while the baseline moves on rarely.
    """
    days = (date.fromisoformat(today()) - date.fromisoformat(about.date)).days
    if days <= OLD_DAYS:
        return ""
    return (
        f"The stored baseline is {days} days old, more than {OLD_DAYS} (stored {about.date}). If "
        f"the production pipeline has changed since: harness baseline accept {suite_file}"
    )


def rankings_of(plan: Plan, candidate: str, collection: str) -> list[str]:
    """Return a digest of each training seed's ranking: documents by query, without their scores."""
    stages = plan.scored[candidate, collection].stages
    return [digest("ranking", stage.run_stage.result(plan.store).documents) for stage in stages]


def runs_before(stored: StoredBaseline, plan: Plan) -> dict[str, Run]:
    """Return what a stored baseline ranked, by collection of a plan with the same texts.

    Collections of which it has no ranking for the metric that decides are left out.
    """
    found = {}
    for name, texts in plan.collections.items():
        kept, was = stored.scores.get(name), stored.about.collections.get(name)
        keys = texts.documents_key, texts.queries_key
        if kept is None or kept.ranked is None or was is None:
            continue
        if (was.documents_key, was.queries_key) != keys:
            continue
        if stored.about.metrics[0] != str(plan.suite.deciding_metric):
            continue
        rows = {key: row for row, key in enumerate(texts.document_ids)}
        places = {key: row for row, key in enumerate(texts.query_ids)}
        width = plan.suite.deciding_metric.cutoff
        documents = np.full((len(texts.query_ids), width), -1, dtype=np.int32)
        for query, ranked in zip(kept.query_ids, kept.ranked, strict=True):
            documents[places[query], : len(ranked)] = [rows[key] for key in ranked]
        falling = np.arange(width, 0, -1)
        found[name] = Run(documents, np.where(documents >= 0, falling, 0).astype(np.float32))
    return found


def accepted(new: StoredBaseline, old: StoredBaseline) -> StoredBaseline:
    """Return the new baseline with the older spreads kept as its history."""
    history = [*old.about.history, Recorded(date=old.about.date, sd=old.about.sd)]
    return StoredBaseline(new.about.model_copy(update={"history": history}), new.scores)


def differing(
    stored: StoredBaseline, name: str, texts: Collection, metrics: set[str]
) -> Iterator[str]:
    """Yield what keeps a stored baseline from being compared with a collection, in a few words."""
    was = stored.about.collections.get(name)
    if was is None:
        yield "no scores of this collection"
        return
    now = _keys(texts, was.source)
    words = {
        "documents_key": "different documents",
        "queries_key": "different queries",
        "judgements_key": "different judgements",
        "split": f"a different split ('{was.split}', now '{now.split}')",
        "exclude_identical_ids": "a different 'exclude_identical_ids'",
    }
    yield from (text for key, text in words.items() if getattr(was, key) != getattr(now, key))
    if set(stored.scores[name].query_ids) != set(texts.query_ids):
        yield "scores of different query ids"
    missing = sorted(metrics - set(stored.about.metrics))
    if missing:
        yield f"no scores in {', '.join(missing)}"


def check_comparable(
    stored: StoredBaseline, path: Path, plan: Plan, targets: Iterable[Target]
) -> None:
    """Refuse a stored baseline that belongs to other data.

    Args:
        stored: from `path`.
        path: for messages.
        plan: of the suite.
        targets: the relative ones say which collections and metrics are needed.

    Raises:
        HarnessError: exit code 3, with everything that differs.
    """
    asked: dict[str, set[str]] = {}
    for target in targets:
        if target.is_relative:
            asked.setdefault(target.collection, set()).add(target.asked)
    problems = []
    for name, metrics in asked.items():
        found = list(differing(stored, name, plan.collections[name], metrics))
        if found:
            problems.append(
                f"{path}: not comparable on '{name}': {', '.join(found)} (stored "
                f"{stored.about.date}). If the change is intended, store a new one: "
                f"harness baseline accept {file_of(plan.suite)} (in Python: "
                "suite.save_baseline(accept=True))"
            )
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.DATA)


def file_of(suite: Suite) -> str:
    """Return the path of a suite's file, for messages."""
    return str(suite.path) if suite.has_file else "SUITE"


def paired_values(stored: StoredScores, query_ids: tuple[str, ...], metric: str) -> Values:
    """Return stored scores in the order of `query_ids`.

    Raises:
        KeyError: a query has no stored score.
    """
    places = {key: row for row, key in enumerate(stored.query_ids)}
    values: Values = stored.values[metric][[places[key] for key in query_ids]]
    return values


def _keys(texts: Collection, source: str) -> StoredCollection:
    return StoredCollection(
        source=source,
        split=texts.split,
        documents_key=texts.documents_key,
        queries_key=texts.queries_key,
        judgements_key=texts.judgements_key,
        exclude_identical_ids=texts.exclude_identical_ids,
        queries=len(texts.query_ids),
        judged=len(texts.judgements.grades) > 0,
    )


def _spreads(plan: Plan, scores: Mapping[str, StoredScores], metrics: list[str]) -> Spread:
    others = [name for name in plan.suite.candidates if name != plan.suite.baseline]

    def spread(differences: Values, clusters: Clusters | None) -> float:
        n = len(differences)
        se = float(estimate(units(differences[:, None], clusters)).se[0])
        return se * n**0.5 if n > 1 else 0.0

    found: Spread = {}
    for collection, stored in scores.items() if others else ():
        if not len(plan.collections[collection].judgements.grades):
            continue  # judged by grades of a part of the pairs, or not at all
        cards = [plan.scored[name, collection].result(plan.store) for name in others]
        clusters = plan.collections[collection].clusters
        found[collection] = {
            metric: median(
                spread(card.values[metric] - stored.values[metric], clusters) for card in cards
            )
            for metric in metrics
        }
    return found


def write_baseline(path: Path, baseline: StoredBaseline) -> None:
    """Write a baseline as one Parquet file, whole or not at all.

    Raises:
        HarnessError: exit code 4, it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for name, stored in baseline.scores.items():
        columns: dict[str, Any] = {
            "collection": pa.array([name] * len(stored.query_ids)).dictionary_encode(),
            "query_id": pa.array(stored.query_ids),
        }
        if stored.ranked is not None:
            columns[_RANKED] = pa.array(stored.ranked, pa.list_(pa.string()))
        tables.append(pa.table({**columns, **{k: pa.array(v) for k, v in stored.values.items()}}))
    table = pa.concat_tables(tables).unify_dictionaries()
    about = baseline.about.model_dump_json().encode()
    digested = _digest(about, baseline.scores).encode()
    table = table.replace_schema_metadata({_ABOUT: about, _DIGEST: digested})
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, new, compression="zstd")
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        instead = "another file with --baseline (in Python: baseline=…)"
        raise cannot_write(str(path), error, instead=instead) from error


def refuse_to_replace(path: Path, *, suite_file: str) -> None:
    """Raise if a baseline is stored: replacing one is an act of its own.

    Raises:
        HarnessError: exit code 2.
    """
    if path.exists():
        raise HarnessError(
            f"{path}: a baseline is stored already, and saving never replaces it. After an "
            f"intended change: harness baseline accept {suite_file} (in Python: "
            "suite.save_baseline(accept=True))",
            exit_code=ExitCode.USAGE,
        )


def read_baseline(path: Path, *, suite_file: str) -> StoredBaseline:
    """Read a stored baseline.

    Raises:
        HarnessError: exit code 2 where nothing is stored, 3 where the file is no baseline or is
            damaged: a score that is no number from 0 to 1, or content that was not written here.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise HarnessError(
            f"{path}: no stored baseline. Store the production pipeline: "
            f"harness baseline save {suite_file} (in Python: suite.save_baseline())",
            exit_code=ExitCode.USAGE,
        )
    try:
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        about = About.model_validate_json(metadata.get(_ABOUT, b""))
        scores = _stored_scores(table, about)
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        what = "an unknown format" if isinstance(error, ValidationError) else str(error)
        lines = what.splitlines() or [type(error).__name__]
        raise _refused(path, f"not a stored baseline, got {lines[0]}") from error
    if about.format != FORMAT:
        raise _refused(
            path, f"not a stored baseline, got format {about.format} instead of {FORMAT}"
        )
    for name, stored in scores.items():
        _check_scores(path, name, stored, about.collections[name].queries)
    # Files from before rankings were stored have no digest either.
    if about.rankings and metadata.get(_DIGEST) != _digest(metadata[_ABOUT], scores).encode():
        raise _refused(path, "changed since it was written (its digest differs)")
    return StoredBaseline(about, scores)


def _digest(about: bytes, scores: Mapping[str, StoredScores]) -> str:
    """Return the digest of all that a file says."""
    tables = {
        name: [
            stored.query_ids,
            dict(stored.values),
            *([] if stored.ranked is None else [stored.ranked]),
        ]
        for name, stored in scores.items()
    }
    return digest("baseline", about, tables)


def _stored_scores(table: Any, about: About) -> dict[str, StoredScores]:
    names, queries = (table[key].to_pylist() for key in ("collection", "query_id"))
    if not all(isinstance(text, str) for text in (*names, *queries)):
        raise TypeError("ids that are no strings")
    owners, ids = np.array(names, dtype=object), np.array(queries, dtype=object)
    columns = {metric: table[metric].to_numpy() for metric in about.metrics}
    ranked = table[_RANKED].to_pylist() if _RANKED in table.column_names else None
    return {
        name: StoredScores(
            tuple(ids[owners == name]),
            {metric: values[owners == name] for metric, values in columns.items()},
            None
            if ranked is None
            else tuple(tuple(ranked[row]) for row in np.flatnonzero(owners == name)),
        )
        for name in about.collections
    }


def _check_scores(path: Path, name: str, stored: StoredScores, n_queries: int) -> None:
    if len(set(stored.query_ids)) != n_queries or len(stored.query_ids) != n_queries:
        text = f"{len(set(stored.query_ids))} queries of '{name}' instead of {n_queries}"
        raise _refused(path, text)
    for metric, values in stored.values.items():
        if not np.issubdtype(values.dtype, np.floating) or not np.isfinite(values).all():
            raise _refused(path, f"a score of '{name}' in {metric} is not a number")
        beyond = np.flatnonzero((values < -SAME) | (values > 1 + SAME))
        if len(beyond):
            query, score = stored.query_ids[beyond[0]], values[beyond[0]]
            text = f"query '{query}' of '{name}' scores {score:g} in {metric}, outside 0 to 1"
            raise _refused(path, text)


def _refused(path: Path, what: str) -> HarnessError:
    return HarnessError(
        f"{path}: {what}. Restore the file, or remove it and run harness baseline save (in Python: "
        "suite.save_baseline()).",
        exit_code=ExitCode.DATA,
    )
