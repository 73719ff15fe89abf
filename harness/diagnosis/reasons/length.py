"""Length: what lies beyond the model's limit, late in the text, or in texts of the wrong length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Values
from harness.diagnosis.lexicon import Lexicon, terms_of
from harness.diagnosis.reasons.reason import (
    Proof,
    Reason,
    Signs,
    encode_others,
    encoded,
    encoder,
    look,
    prove,
    with_control,
)
from harness.diagnosis.subject import Queries, Subject
from harness.diagnosis.words import INDEXED_WORDS
from harness.models.tokens import unread_from
from harness.models.weights import Weights
from harness.retrieval.encoding import Encode
from harness.retrieval.search import Search, score_pairs
from harness.runs.run import Run, rank
from harness.stage import Context

_WORDS_PER_TOKEN = 0.6
_SHORTEST, _LONGEST = 16, 100  # words of a passage; 100 are about 128 tokens
_TRIED, _CONTROL = 100, 50  # each query asks for up to k + 1 passages
_LEAD = 0.2  # share of the query that the rest of the text must lack
_PARTS = 3  # windows that a text needs so that its thirds differ
_FIFTH = 0.2


@dataclass(frozen=True, eq=False)
class Passages:
    """A document in windows of words that overlap by half.

    Attributes:
        shares: float64 [n_windows], how much of the query each holds, weighted by idf: a word
            counts once, however often it stands there.
        step, width: words from one window to the next, and in each.
        words: of the whole document.
    """

    shares: Values
    step: int
    width: int
    words: int

    @cached_property
    def best(self) -> int:
        """Number of the first window with the largest share."""
        return int(self.shares.argmax())

    @property
    def first(self) -> int:
        """Number of the best window's first word, from 0."""
        return self.best * self.step

    def before(self, word: int) -> Passages:
        """Return the windows that start before a word; always the first."""
        return replace(self, shares=self.shares[: max(1, -(-word // self.step))])

    def lead(self, word: int) -> float:
        """Return how much more of the query the best window holds than any before a word."""
        return float(self.shares[self.best] - self.before(word).shares.max())

    def cut_out(self, text: str) -> str:
        """Return the best window's part of the document's text."""
        spans = [match.span() for match in INDEXED_WORDS.finditer(text)]
        last = min(self.first + self.width, self.words, len(spans)) - 1
        return text[spans[self.first][0] : spans[last][1]]


def read_passages(lexicon: Lexicon, query: int, document: int, *, words: int) -> Passages | None:
    """Weigh the windows of a document by a query; None where it has no word of the query."""
    wanted = terms_of(lexicon.queries, query)
    sequence = lexicon.sequence[lexicon.bounds[document] : lexicon.bounds[document + 1]]
    terms = lexicon.stems[sequence]
    places = np.flatnonzero(np.isin(terms, wanted))
    if not len(places):
        return None
    step = max(words // 2, 1)
    n_windows = max(1, -(-(len(sequence) - words) // step) + 1)
    # The word at place p stands in the windows that start in (p - words, p].
    lowest = np.maximum(0, -(-(places - words + 1) // step))
    highest = np.minimum(places // step, n_windows - 1)
    totals = np.zeros(n_windows)
    for term in np.unique(terms[places]):
        mine = terms[places] == term
        edges = np.zeros(n_windows + 1)
        np.add.at(edges, lowest[mine], 1)
        np.add.at(edges, highest[mine] + 1, -1)
        totals[np.cumsum(edges)[:-1] > 0] += lexicon.idf[term]
    return Passages(totals / lexicon.idf[wanted].sum(), step, words, len(sequence))


class _Reading(NamedTuple):
    """How far a model reads: the stage that encodes documents, its weights, and its tokens."""

    encode: Encode
    weights: Weights
    limit: int

    def words_of(self, subject: Subject, documents: Rows) -> npt.NDArray[np.int64]:
        """Return how many words of each document are read, int64 [n]; 0 for row -1."""
        rows, places = np.unique(documents, return_inverse=True)
        texts = ["" if row < 0 else subject.collection.documents[row] for row in rows]
        ends = unread_from(
            self.weights, texts, prompt=self.encode.prompt, max_length=self.encode.max_length
        )
        read = np.where(rows < 0, 0, subject.facts.lexicon.lengths[rows])
        for place, (text, end) in enumerate(zip(texts, ends.tolist(), strict=True)):
            if end < len(text):
                read[place] = len(INDEXED_WORDS.findall(text[:end]))
        return read[places]


def _reading(subject: Subject) -> _Reading | None:
    """Return how far the model reads; None where it has no limit or is not known."""
    search = subject.first
    encode = search.space.documents if isinstance(search, Search) else None
    weights = encode.model.weights(subject.store) if isinstance(encode, Encode) else None
    if not isinstance(encode, Encode) or weights is None or weights.is_static:
        return None
    limit = encode.max_length or weights.max_length
    return _Reading(encode, weights, limit) if limit else None


def _passage_words(read: _Reading | None) -> int:
    if read is None:
        return _LONGEST
    return int(min(max(read.limit * _WORDS_PER_TOKEN, _SHORTEST), _LONGEST))


def _passages(subject: Subject) -> dict[int, Passages | None]:
    """Return the passages of each query's best relevant document, by query row."""
    words, lexicon = _passage_words(_reading(subject)), subject.facts.lexicon
    return subject.remember(
        "passages",
        lambda: {
            row: read_passages(lexicon, row, int(subject.best[row]), words=words)
            for row in np.flatnonzero(subject.findable).tolist()
        },
    )


def find_truncated(subject: Subject) -> Signs | None:
    """Tell where the passage that matches best starts beyond what the model reads.

    Asked of queries whose document is longer than a passage. Flags: the texts, the words that they
    share and the model's limit. The trial changes the text of the documents.
    """
    read = _reading(subject)
    if read is None:
        return None
    reach = read.words_of(subject, subject.best).tolist()
    passages = _passages(subject)

    def see(row: int) -> str | bool | None:
        parts, end = passages[row], reach[row]
        if parts is None or len(parts.shares) <= 1:
            return None
        if not parts.first >= end > 0 or parts.lead(end) < _LEAD:
            return False
        return (
            f"The model reads {end:,} of the relevant document's {parts.words:,} words; the "
            f"passage from word {parts.first + 1:,} has {parts.shares[parts.best]:.0%} of the "
            f"query's words by weight, no earlier one more than "
            f"{parts.before(end).shares.max():.0%}."
        )

    return look(subject, see)


def try_passages(subject: Subject, signs: Signs, context: Context) -> list[Proof]:
    """Let long documents be found by their best passage alone: the relevant one, and its rivals.

    The control is failed queries whose best passage the model does read: they recover because
    their texts are shorter, not because of the limit.
    """
    encode, read, lexicon = encoder(subject, "document"), _reading(subject), subject.facts.lexicon
    if encode is None or read is None:
        return []
    rows = with_control(subject, signs, most=_TRIED, control=_CONTROL)
    documents = [np.append(subject.top[row][subject.wrong[row]], subject.best[row]) for row in rows]
    every = np.unique(np.concatenate([np.empty(0, dtype=np.int32), *documents]))
    is_cut = read.words_of(subject, every) < lexicon.lengths[every]
    cuts = set(every[is_cut].tolist())
    chosen: list[tuple[int, int]] = []
    texts: list[str] = []
    for place, row in enumerate(rows.tolist()):
        for document in documents[place].tolist():
            if document != subject.best[row] and document not in cuts:
                continue
            parts = read_passages(lexicon, row, document, words=_passage_words(read))
            if parts is not None:
                chosen.append((place, document))
                texts.append(parts.cut_out(subject.collection.documents[document]))
    if not texts:
        return []
    others = encode_others(encode, texts, what="passages of documents")
    [vectors] = encoded(subject, context, others)
    places, held = np.array(chosen).T
    asked = subject.searched.queries.take(rows[places])
    scores = score_pairs(vectors, asked, np.arange(len(chosen), dtype=np.int32)[:, None])[:, 0]
    run = _raised(subject, rows, places, held, scores)
    change = "documents found by their best passage alone"
    return [prove(subject, signs, run, change=change, rows=rows)]


def _raised(
    subject: Subject,
    rows: Queries,
    places: npt.NDArray[np.intp],
    documents: npt.NDArray[np.intp],
    scores: Values,
) -> Run:
    """Return the run of some queries if some documents had other scores, where those are better.

    Args:
        subject: the candidate.
        rows: int [m].
        places: int [n], which of `rows` another score is for.
        documents: int [n], the document that has it.
        scores: float [n].
    """
    depth = subject.run.depth
    width = depth + int(np.bincount(places).max(initial=0))
    held = np.full((len(rows), width), -1, dtype=np.int32)
    values = np.zeros(held.shape)
    for place, row in enumerate(rows):
        own = zip(
            subject.run.documents[row].tolist(), subject.run.scores[row].tolist(), strict=True
        )
        mine = {document: value for document, value in own if document >= 0}
        others = places == place
        for document, value in zip(
            documents[others].tolist(), scores[others].tolist(), strict=True
        ):
            mine[document] = max(mine.get(document, -np.inf), value)
        held[place, : len(mine)] = list(mine)
        values[place, : len(mine)] = list(mine.values())
    return rank(held, values, depth=depth)


def find_late(subject: Subject) -> Signs:
    """Tell where the passage that matches best stands in the last third of what is read.

    Flags: the texts. There is no trial.
    """
    read, passages = _reading(subject), _passages(subject)
    reach = None if read is None else read.words_of(subject, subject.best).tolist()

    def see(row: int) -> str | bool | None:
        whole = passages[row]
        if whole is None:
            return None
        end = whole.words if reach is None else reach[row]
        parts, late = whole.before(end), end * 2 // 3
        if len(parts.shares) < _PARTS or not parts.shares.any():
            return None
        if parts.first < late or parts.lead(late) < _LEAD:
            return False
        return (
            f"The passage from word {parts.first + 1:,} of the relevant document has "
            f"{parts.shares[parts.best]:.0%} of the query's words by weight, no part of the first "
            f"two thirds more than {parts.before(parts.first - parts.step).shares.max():.0%}."
        )

    return look(subject, see)


def find_length_bias(subject: Subject) -> Signs | None:
    """Tell whose document is of the length, the longest or shortest fifth, that is retrieved least.

    Which of the two it is, the wrong documents of all queries say: they are longer or shorter than
    the corpus. Flags: the length of the relevant document. There is no trial.
    """
    from scipy.stats import rankdata

    lengths = np.array([len(text) for text in subject.collection.documents])
    share = (rankdata(lengths) - 0.5) / len(lengths)
    retrieved = share[subject.top[subject.wrong]]
    if not len(retrieved) or len(lengths) < 1 / _FIFTH:
        return None
    usual = retrieved.mean()
    end = "short" if usual > 0.5 else "long"

    def see(row: int) -> str | bool:
        mine = share[subject.best[row]]
        if not (mine < _FIFTH if end == "short" else mine > 1 - _FIFTH):
            return False
        return (
            f"The relevant document has {lengths[subject.best[row]]:,} characters, among the "
            f"{end}est fifth; those retrieved lie at {usual:.0%} of the range of lengths."
        )

    return look(subject, see)


TRUNCATION = Reason(
    key="truncation",
    title="The answer is truncated",
    says="the best matching passage starts beyond the model's limit",
    lever="chunking",
    detect=find_truncated,
    trial=try_passages,
    alone=True,
)
POSITION = Reason(
    key="position",
    title="The answer is late in the text",
    says="the best matching passage is in the last third of what the model reads",
    lever="chunking",
    detect=find_late,
)
LENGTH = Reason(
    key="length-bias",
    title="Length bias",
    says="the relevant document has a length that the candidate retrieves least",
    lever="fine-tune",
    detect=find_length_bias,
    of_words="k1 and b",
    hosted="chunking",
)
