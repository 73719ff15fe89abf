"""Signs: what a detector saw, and what a counterfactual proved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Flags, Values
from harness.diagnosis.subject import Subject
from harness.diagnosis.values import Lever
from harness.retrieval.encoding import Encode

TRIED = 200  # queries of a counterfactual that encodes texts, at most
_CONTROL = 10  # failed queries without the reason, at least where there are so many


@dataclass(frozen=True, eq=False)
class Signs:
    """Which queries show a reason, hits and misses alike.

    Attributes:
        eligible: bool [n_queries], where the reason could show at all: misses and hits are compared
            among these.
        shows: bool [n_queries], where it does.
        failed: bool [n_queries], the failure that it would cause.
        evidence: what is seen in a query that shows it, one sentence.
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
    def flagged(self) -> Flags:
        """The queries that show it, bool [n_queries]."""
        return self.eligible & self.shows

    @property
    def explained(self) -> Flags:
        """The failed queries that show it, at work where that can be seen, bool [n_queries]."""
        mask = self.flagged & self.failed
        return mask if self.at_work is None else mask & self.at_work

    @property
    def failures(self) -> npt.NDArray[np.intp]:
        """Rows of `explained`."""
        return np.flatnonzero(self.explained)


class Proof(NamedTuple):
    """What a change did to the queries on which it was tried.

    Attributes:
        change: in a few words.
        rows: int [m], the queries: those that show the reason, or a sample of them, and others as
            their control.
        gains: float64 [m], difference of the metric.
        recovered: bool [m], failed before and within k now.
        unmoved: failed queries whose ranking the change hardly moves, where that is the proof.
    """

    change: str
    rows: npt.NDArray[np.intp]
    gains: Values
    recovered: Flags
    unmoved: int | None = None


class Trial(NamedTuple):
    """A counterfactual that is ready to be tried.

    Attributes:
        encodes: texts that must be encoded before.
        judge: works the proofs out once they are; several variants of one change.
    """

    encodes: tuple[Encode, ...]
    judge: Callable[[], list[Proof]]


@dataclass(frozen=True)
class Reason:
    """A reason for failures.

    Attributes:
        key: its name in files.
        title: for people.
        says: what a query that shows it has in common with the others, completing "in 61 of 84
            failed queries …".
        lever: what would fix it.
        detect: finds it; None where it can not show in such a candidate.
        trial: prepares the counterfactual; None where none is cheap.
        failure: what the failed queries have in common, with {k}.
        whole: it concerns the candidate as a whole: only its counterfactual counts.
        symptom: it is read off what the candidate returned. A query that fails for any reason
            returns strange documents, so the contrast alone supports nothing.
        alone: the trial mends the texts of the queries that show it and nothing else, so that it
            can confirm the reason without the contrast. A change of the whole system, such as a
            fusion, helps failed queries whatever their reason.
    """

    key: str
    title: str
    says: str
    lever: Lever
    detect: Callable[[Subject], Signs | None]
    trial: Callable[[Subject, Signs], Trial | None] | None = None
    failure: str = "no relevant document among the first {k}"
    whole: bool = False
    symptom: bool = False
    alone: bool = False


def nothing(subject: Subject) -> Flags:
    """Return a mask of no query."""
    return np.zeros(subject.n_queries, dtype=bool)


def sample(
    subject: Subject, rows: npt.NDArray[np.intp], *, most: int = TRIED
) -> npt.NDArray[np.intp]:
    """Return at most `most` of some queries, drawn by the suite's seed, ascending."""
    if len(rows) <= most:
        return rows
    draw = np.random.default_rng(subject.seed)
    return np.sort(draw.choice(rows, most, replace=False))


def with_control(
    subject: Subject, signs: Signs, *, most: int = TRIED, control: int = TRIED
) -> npt.NDArray[np.intp]:
    """Return queries that show a reason, and as many failed ones that do not, as far as there are.

    Args:
        subject: the candidate.
        signs: of the reason.
        most: queries that show it, at most.
        control: failed ones that do not, at most; ten at least where there are so many.
    """
    tried = sample(subject, np.flatnonzero(signs.flagged), most=most)
    others = np.flatnonzero(signs.eligible & ~signs.shows & signs.failed)
    if not len(tried):
        return tried
    wanted = min(control, max(_CONTROL, int(signs.failed[tried].sum())))
    return np.sort(np.concatenate([tried, sample(subject, others, most=wanted)]))


def short(text: str, *, length: int = 60) -> str:
    """Return the beginning of a text for a sentence, on one line.

    >>> short("a  b c", length=4)
    'a b…'
    """
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
