"""Reason: what a detector saw, what a counterfactual showed, and the steps that several share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from harness.arrays import Flags, Values
from harness.diagnosis.subject import TRIED, Queries, Subject
from harness.diagnosis.values import Lever
from harness.retrieval.embeddings import Embeddings
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.search import Search, search
from harness.runs.run import Run
from harness.stage import Context

MOST_SECONDS = 300.0  # that a counterfactual may encode
_CONTROL = 10  # failed queries without the reason, at least where there are so many


@dataclass(frozen=True, eq=False)
class Signs:
    """Which queries show a reason, hits and misses alike.

    Attributes:
        eligible: bool [n_queries], where the reason could show at all: misses and hits are compared
            among these.
        shows: bool [n_queries], where it does; some of `eligible`.
        failed: bool [n_queries], the failure that it would cause.
        evidence: what is seen in a query of `failures`, one sentence.
        at_work: bool [n_queries], where what was returned shows its harm; these are listed.
            Neither the comparison of misses and hits nor the trial uses it, since a query that
            fails for any reason returns other documents. None where only `shows` can be seen.
    """

    eligible: Flags
    shows: Flags
    failed: Flags
    evidence: Callable[[int], str]
    at_work: Flags | None = None

    @property
    def failures(self) -> Queries:
        """The failed queries that show it, at work where that can be seen."""
        mask = self.shows & self.failed
        return np.flatnonzero(mask if self.at_work is None else mask & self.at_work)


class Proof(NamedTuple):
    """What a change did to the queries on which it was tried.

    Attributes:
        change: in a few words; with `unmoved`, what is then true of them.
        rows: int [m], the queries: those that show the reason, or a sample of them, and others as
            their control.
        gains: float64 [m], difference of the metric.
        recovered: bool [m], failed before and within k now.
        unmoved: failed queries whose ranking the change hardly moves, where that is the proof.
    """

    change: str
    rows: Queries
    gains: Values
    recovered: Flags
    unmoved: int | None = None


@dataclass(frozen=True)
class Reason:
    """A reason for failures.

    Attributes:
        key: its name in files.
        title: for people.
        says: what a query that shows it has in common with the others, completing "in 61 of 84
            failed queries …".
        lever: what would fix it.
        detect: finds it, see `look`; None where it cannot show in such a candidate.
        trial: tries the counterfactual, in one or several variants; None where none is cheap.
        failure: what the failed queries have in common, with {k}.
        harm: what can be seen at work in the results, completing "in 12 of these misses …".
        whole: it concerns the candidate as a whole: only its counterfactual counts.
        symptom: it is read off what the candidate returned. A query that fails for any reason
            returns strange documents, so the contrast alone supports nothing.
        alone: the trial mends the texts of the queries that show it and nothing else, so that it
            can confirm the reason without the contrast. A change of the whole system, such as a
            fusion, helps failed queries whatever their reason.
        of_words: the lever in BM25, where that is another one.
        hosted: the lever in a provider's model, which cannot be fine-tuned, where another one.
    """

    key: str
    title: str
    says: str
    lever: Lever
    detect: Callable[[Subject], Signs | None]
    trial: Callable[[Subject, Signs, Context], list[Proof]] | None = None
    failure: str = "no relevant document in the top {k}"
    harm: str = ""
    whole: bool = False
    symptom: bool = False
    alone: bool = False
    of_words: Lever | None = None
    hosted: Lever | None = None

    def remedy(self, subject: Subject) -> Lever:
        """Return what would fix it in a candidate."""
        is_hybrid = subject.compares_words and self.lever == "hybrid"  # and needs none
        if (subject.compares_words_alone or is_hybrid) and self.of_words is not None:
            return self.of_words
        return (subject.is_hosted and self.hosted) or self.lever


def not_first(subject: Subject) -> Flags:
    """Tell whose best relevant document is not the first."""
    failed: Flags = subject.findable & ~subject.after.within(1)
    return failed


def look(
    subject: Subject,
    see: Callable[[int], str | bool | None],
    *,
    failed: Flags | None = None,
    harm: bool = False,
) -> Signs:
    """Look at every query with a relevant document that can be found.

    Args:
        subject: the candidate.
        see: of a query's row: one sentence where the reason shows, False where it does not, None
            where it could not. With `harm`, True where it shows and its harm does not.
        failed: bool [n_queries], the failure that the reason would cause; None takes the misses.
        harm: whether `see` tells where the reason's harm shows in what was returned.
    """
    eligible, shows, at_work = np.zeros((3, subject.n_queries), dtype=bool)
    evidence: dict[int, str] = {}
    for row in np.flatnonzero(subject.findable).tolist():
        seen = see(row)
        eligible[row], shows[row] = seen is not None, bool(seen)
        if isinstance(seen, str):
            evidence[row], at_work[row] = seen, True
    return Signs(
        eligible,
        shows,
        subject.missed if failed is None else failed,
        evidence.__getitem__,
        at_work if harm else None,
    )


def with_control(
    subject: Subject, signs: Signs, *, most: int = TRIED, control: int = TRIED
) -> Queries:
    """Return queries that show a reason, and as many failed ones that do not, as far as there are.

    Args:
        subject: the candidate.
        signs: of the reason.
        most: queries that show it, at most.
        control: failed ones that do not, at most; ten at least where there are so many.
    """
    tried = subject.sample(np.flatnonzero(signs.shows), most=most)
    if not len(tried):
        return tried
    others = np.flatnonzero(signs.eligible & ~signs.shows & signs.failed)
    wanted = min(control, max(_CONTROL, int(signs.failed[tried].sum())))
    return np.sort(np.concatenate([tried, subject.sample(others, most=wanted)]))


def prove(
    subject: Subject,
    signs: Signs,
    run: Run,
    *,
    change: str,
    rows: Queries | None = None,
    within: int | None = None,
) -> Proof:
    """Compare what a change returns with what was returned.

    Args:
        subject: the candidate as it is.
        signs: of the reason: what counts as a failure.
        run: [m, …], what the change returns.
        change: in a few words; with `unmoved`, what is then true of them.
        rows: int [m], the queries tried; None for all.
        within: rank that recovers one; None takes k.
    """
    rows = np.arange(subject.n_queries) if rows is None else rows
    return Proof(
        change=change,
        rows=rows,
        gains=subject.score(rows, run) - subject.scores[rows],
        recovered=signs.failed[rows] & subject.hits(rows, run, k=within or subject.k),
    )


def encoder(subject: Subject, side: Literal["query", "document"]) -> Encode | None:
    """Return the stage that encodes one side, or None where the model is not at hand."""
    if not isinstance(subject.stage, Search):
        return None
    source = subject.stage.space.queries if side == "query" else subject.stage.space.documents
    return source if isinstance(source, Encode) else None


def encode_others(encode: Encode, texts: Sequence[str], *, what: str) -> Encode:
    """Return the stage that encodes other texts with the same model, side and prompt."""
    return replace(encode, texts=Texts(f"{encode.texts.source} ({what})", tuple(texts)))


class TooLongError(Exception):
    """A counterfactual would encode for longer than `MOST_SECONDS`; it holds the estimate."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def encoded(subject: Subject, context: Context, *encodes: Encode) -> list[Embeddings]:
    """Encode texts, and return the vectors of each stage as the candidate's search reads them.

    Raises:
        TooLongError: all of them together would take too long.
    """
    stage = subject.stage
    if not isinstance(stage, Search):
        raise TypeError(f"{subject.candidate} searches no vectors")
    seconds = sum(encode.work(subject.store).seconds or 0.0 for encode in encodes)
    if seconds > MOST_SECONDS:
        raise TooLongError(seconds)
    found = []
    for encode in encodes:
        encode.run(context)
        read = replace(stage.space, documents=encode, queries=encode).read(subject.store)[1]
        found.append(read if encode.role == "query" else subject.searched.documents.alike(read))
    return found


def search_with(subject: Subject, rows: Queries, queries: Embeddings) -> Run:
    """Return what other vectors of some queries find among the candidate's documents."""
    forbidden = None if subject.forbidden is None else subject.forbidden[rows]
    documents = subject.searched.documents
    return search(documents, queries, depth=subject.run.depth, forbidden=forbidden)
