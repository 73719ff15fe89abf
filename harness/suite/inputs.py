"""Inputs: the collections of a suite, loaded, audited and built, each source read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.collection import Collection
from harness.collection.judged import add_judgements
from harness.collection.load import build
from harness.collection.problem import NO_QUERIES, NOT_JUDGED, Problem
from harness.collection.raw import ALL, RawCollection
from harness.collection.reading import BrokenInput
from harness.collection.remembered import audited
from harness.collection.sample import sample, with_queries
from harness.collection.tables import read_ids
from harness.errors import ExitCode, HarnessError, counted
from harness.store import Store
from harness.suite.sources import Sources
from harness.suite.spec import Suite

FEWEST_QUERIES = 2  # of a paired comparison


@dataclass(frozen=True)
class Inputs:
    """The collections of a suite.

    Attributes:
        raw: what the sources hold, by the suite's name of the collection.
        collections: the split that is scored; absent where the audit found an error.
        problems: what the audit found, by collection.
    """

    raw: Mapping[str, RawCollection] = field(repr=False)
    collections: Mapping[str, Collection]
    problems: Mapping[str, tuple[Problem, ...]]

    def split(self, name: str, split: str) -> Collection:
        """Return another split of a collection, such as the one to train on."""
        return build(self.raw[name], name=name, split=split)


def read_inputs(suite: Suite, store: Store) -> Inputs:
    """Load, audit and build every collection; what the store remembers is not parsed again.

    Raises:
        HarnessError: exit code 2 for a source of an unknown kind, else 3 for one that cannot be
            read; all such problems at once.
    """
    raw: dict[str, RawCollection] = {}
    sources = Sources(suite, store)
    told: dict[str, list[Problem]] = {name: [] for name in suite.collections}
    problems: list[str] = []
    code = ExitCode.DATA
    splits = {name: spec.split for name, spec in suite.collections.items()}
    for name, spec in suite.collections.items():
        try:
            raw[name] = sources.read(name)
            if _takes_all(suite, name, raw[name]):
                raw[name] = raw[name].undivided()
                splits[name] = ALL
            if raw[name].task is not None:
                (splits[name],) = raw[name].splits
            raw[name].split(splits[name])
            if spec.judgements is not None:
                path = suite.locate(spec.judgements)
                raw[name], warning = _judged(raw[name], splits[name], path)
                told[name].append(warning)
            if name in suite.asked:
                raw[name] = with_queries(raw[name], splits[name], suite.asked[name])
            if suite.limit is not None:
                raw[name], warning = _sampled(raw[name], splits[name], suite.limit)
                told[name].append(warning)
        except HarnessError as error:
            code = min(code, error.exit_code)
            problems += [f"{suite.where('collections', name)}: {text}" for text in error.problems]
    if problems:
        raise HarnessError(problems, exit_code=code)
    check_lists(suite)
    found = {
        name: (*told[name], *_audited(suite, raw[name], splits[name], store))
        for name in suite.collections
    }
    sound = [name for name in suite.collections if not errors_of(found[name])]
    collections = {name: _built(suite, name, raw[name], splits[name]) for name in sound}
    return Inputs(raw=raw, collections=collections, problems=found)


def _audited(suite: Suite, raw: RawCollection, split: str, store: Store) -> Iterator[Problem]:
    """Yield what the audit finds, but not that nothing is judged where this is to come."""
    part = raw.split(split)
    to_come = suite.unjudged and not len(part.judgements) and part.queries.ids
    for each in audited(raw, split, store=store):
        if not (to_come and each.check in {NO_QUERIES, NOT_JUDGED}):
            yield each


def check_lists(suite: Suite) -> None:
    """Raise if a list of queries, of a slice or a gate, cannot be read, used or not.

    Raises:
        HarnessError: exit code 2, all such problems.
    """
    problems: list[str] = []
    for kind, tables in (("slices", suite.slices), ("gates", suite.gates)):
        for name, spec in tables.items():
            file = getattr(spec, "file", None)
            try:
                if file is not None:
                    listed_queries(suite, file, suite.where(kind, name))
            except HarnessError as error:
                problems += error.problems
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)


def listed_queries(suite: Suite, file: str, where: str) -> list[str]:
    """Return the query ids of a list: one a line, or the column of a table.

    Raises:
        HarnessError: exit code 2, the file cannot be read or has no id.
    """
    broken = BrokenInput()
    ids = read_ids(suite.locate(file), broken)
    problems = broken.problems()
    if not problems and not ids:
        problems = [f"{file}: no query ids. Write one per line."]
    if problems:
        raise HarnessError([f"{where}: {text}" for text in problems], exit_code=ExitCode.USAGE)
    return ids


def partly_scored(inputs: Inputs) -> Iterator[str]:
    """Yield which collections are scored on a part of their queries that nobody named."""
    for name, collection in inputs.collections.items():
        raw = inputs.raw[name]
        if raw.hashed and collection.split != ALL:
            n, every = len(collection.queries), len(raw.undivided().split(ALL).relevant)
            yield (
                f"collection '{name}': {n:,} of {every:,} queries are scored: split "
                f"'{collection.split}' ({n / every:.0%}), chosen by a hash of each query. "
                'split = "all" scores all, leaving none for training.'
            )


def _takes_all(suite: Suite, name: str, raw: RawCollection) -> bool:
    """Tell whether all queries are scored: asked for, or nothing needs the parts of a hash."""
    spec = suite.collections[name]
    if "split" in spec.model_fields_set:
        return spec.split == ALL
    return raw.hashed and not any(
        data.startswith(f"{other}:")
        for other, each in suite.collections.items()
        if each.source == spec.source
        for data in suite.learned_from
    )


def _built(suite: Suite, name: str, raw: RawCollection, split: str) -> Collection:
    spec, task = suite.collections[name], raw.task
    try:
        return build(
            raw,
            name=name,
            split=split,
            exclude_identical_ids=spec.exclude_identical_ids
            or (task is not None and task.excludes_identical_ids),
            clusters=spec.clusters,
            unjudged=suite.unjudged,
        )
    except HarnessError as error:
        where = suite.where("collections", name)
        problems = [f"{where}: {text}" for text in error.problems]
        raise HarnessError(problems, exit_code=error.exit_code) from None


def _judged(raw: RawCollection, split: str, path: Path) -> tuple[RawCollection, Problem]:
    """Return a collection with the judgements of a file, and the warning that says so."""
    found = add_judgements(raw, split, path)
    counts = f"{found.added:,} added, {found.changed:,} changed, {found.same:,} the same"
    if found.ungraded:
        counts += f"; {counted(found.ungraded, 'row')} without a grade left out"
    message = (
        f"{path}: these judgements override those of split {split!r} ({counts}). Scores are "
        "comparable only with runs that use them too."
    )
    return found.raw, Problem("warning", "judgements-file", message, found.added + found.changed)


def _sampled(raw: RawCollection, split: str, queries: int) -> tuple[RawCollection, Problem]:
    """Return a sample of a collection, and the warning that says so."""
    found = sample(raw, queries)
    part, every = found.split(split), raw.split(split)
    documents, whole = len(found.documents.ids), len(raw.documents.ids)
    message = (
        f"a sample: {len(part.relevant):,} of {len(every.relevant):,} queries, {documents:,} of "
        f"{whole:,} documents."
    )
    if documents < whole:
        message += (
            " Fewer documents are easier to search, so scores are too high, and differences may "
            "not hold on the whole."
        )
    return found, Problem("warning", "sample", message, len(part.relevant))


def errors_of(problems: tuple[Problem, ...]) -> list[str]:
    """Return the messages of the problems that refuse a collection."""
    return [problem.message for problem in problems if problem.severity == "error"]


def refuse_errors(suite: Suite, inputs: Inputs) -> None:
    """Raise if the audit found an error in any collection, or candidates cannot be compared on it.

    Raises:
        HarnessError: exit code 3, all errors of all collections.
    """
    problems = [
        f"{suite.where('collections', name)}: {message}"
        for name, found in inputs.problems.items()
        for message in errors_of(found)
    ]
    problems += [
        f"{suite.where('collections', name)}: a paired comparison needs {FEWEST_QUERIES} judged "
        f"queries or more, got {len(collection.queries)}. Add queries with judgements."
        for name, collection in inputs.collections.items()
        if len(suite.candidates) > 1 and len(collection.queries) < FEWEST_QUERIES
    ]
    problems += [
        f"{suite.where('collections', name)}: '{name}' and '{first}' differ only in passages, "
        "but the questions judge passages, which differ there. Judge files instead."
        for name, first in suite.cut_otherwise.items()
        if {name, first} <= inputs.collections.keys()
        and inputs.collections[name].documents_key != inputs.collections[first].documents_key
    ]
    in_tokens = [str(metric) for metric in suite.parsed_metrics() if metric.in_tokens]
    problems += [
        f"{suite.where('metrics')}: {in_tokens[0]} fills a prompt with whole documents, but "
        f"'{name}' is searched by passages. Judge passages, as in 'guide.md#3', or remove it."
        for name, collection in inputs.collections.items()
        if in_tokens and collection.passages is not None
    ]
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.DATA)
