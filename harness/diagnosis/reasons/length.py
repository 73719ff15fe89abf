"""Length: what lies beyond the model's limit, late in the text, or in texts of the wrong length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from harness.arrays import Rows, Values
from harness.diagnosis.passages import Passages, count_words, cut_out, read_passages
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, nothing, with_control
from harness.diagnosis.reasons.trials import encode_others, encoder, prove, raised, read_side
from harness.diagnosis.subject import Subject
from harness.models.tokens import unread_from
from harness.models.weights import Weights
from harness.retrieval.encoding import Encode
from harness.retrieval.search import Search, score_pairs
from harness.runs.run import Run

_WORDS_PER_TOKEN = 0.6
_SHORTEST, _LONGEST = 16, 100  # words of a passage; 100 are about 128 tokens
_TRIED, _CONTROL = 100, 50  # each query asks for up to k + 1 passages
_LEAD = 0.2  # share of the query that the rest of the text must lack
_PARTS = 3  # windows that a text needs so that its thirds differ
_FIFTH = 0.2


def find_truncated(subject: Subject) -> Signs | None:
    """Tell where the passage that matches best starts beyond what the model reads.

    Asked of queries whose document is longer than a passage. Flags: the texts, the words that they
    share and the model's limit. The trial changes the text of the documents.
    """
    read = _reading(subject)
    if read is None:
        return None
    eligible, shows = nothing(subject), nothing(subject)
    reach = read.words_of(subject, subject.best)
    passages = _passages(subject)
    for row, parts in passages.items():
        eligible[row] = len(parts.shares) > 1
        shows[row] = parts.first >= reach[row] > 0 and parts.lead(int(reach[row])) >= _LEAD
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        parts, read = passages[row], int(reach[row])
        return (
            f"The model reads {read:,} of the relevant document's {parts.words:,} words; the "
            f"passage from word {parts.first + 1:,} has {parts.shares[parts.best]:.0%} of the "
            f"query's words by weight, no earlier one more than "
            f"{parts.before(read).shares.max():.0%}."
        )

    return Signs(eligible, shows, subject.missed, evidence)


class _Reading:
    """How far a model reads."""

    def __init__(self, weights: Weights, encode: Encode) -> None:
        self.weights, self.encode = weights, encode

    def words_of(self, subject: Subject, documents: Rows) -> npt.NDArray[np.int64]:
        """Return how many words of each document are read, int64 [n]; 0 for row -1."""
        rows, places = np.unique(documents, return_inverse=True)
        texts = ["" if row < 0 else subject.collection.documents[row] for row in rows]
        ends = unread_from(
            self.weights, texts, prompt=self.encode.prompt, max_length=self.encode.max_length
        )
        bounds = subject.facts.lexicon.bounds
        read = np.where(rows < 0, 0, bounds[rows + 1] - bounds[rows])
        for place, (text, end) in enumerate(zip(texts, ends.tolist(), strict=True)):
            if end < len(text):
                read[place] = count_words(text[:end])
        return read[places]


def _reading(subject: Subject) -> _Reading | None:
    """Return how far the model reads; None where it has no limit or is not known."""
    search = subject.first
    encode = search.space.documents if isinstance(search, Search) else None
    weights = encode.model.weights(subject.store) if isinstance(encode, Encode) else None
    if not isinstance(encode, Encode) or weights is None or weights.is_static:
        return None
    return _Reading(weights, encode) if _limit(encode, weights) else None


def _limit(encode: Encode, weights: Weights) -> int | None:
    return encode.max_length or weights.max_length


def _passage_words(subject: Subject) -> int:
    read = _reading(subject)
    limit = None if read is None else _limit(read.encode, read.weights)
    if limit is None:
        return _LONGEST
    return int(min(max(limit * _WORDS_PER_TOKEN, _SHORTEST), _LONGEST))


def _passages(subject: Subject) -> dict[int, Passages]:
    """Return the passages of each query's best relevant document, by query row."""
    return subject.remember("passages", lambda: _find_passages(subject))


def _find_passages(subject: Subject) -> dict[int, Passages]:
    words, found = _passage_words(subject), {}
    for row in np.flatnonzero(subject.findable):
        document = int(subject.best[row])
        parts = read_passages(subject.facts.lexicon, int(row), document, words=words)
        if parts is not None:
            found[int(row)] = parts
    return found


def try_passages(subject: Subject, signs: Signs) -> Trial | None:
    """Let long documents be found by their best passage alone: the relevant one, and its rivals.

    The control is failed queries whose best passage the model does read: they recover because
    their texts are shorter, not because of the limit.
    """
    encode, read = encoder(subject, "document"), _reading(subject)
    if encode is None or read is None:
        return None
    rows = with_control(subject, signs, most=_TRIED, control=_CONTROL)
    documents = [np.append(subject.top[row][subject.wrong[row]], subject.best[row]) for row in rows]
    cuts = _cut_texts(subject, read, documents)
    chosen: list[tuple[int, int]] = []
    texts: list[str] = []
    for place, row in enumerate(rows):
        for document in documents[place]:
            if document != subject.best[row] and document not in cuts:
                continue
            parts = read_passages(
                subject.facts.lexicon, int(row), int(document), words=_passage_words(subject)
            )
            if parts is not None:
                chosen.append((place, int(document)))
                texts.append(cut_out(subject.collection.documents[document], parts))
    if not texts:
        return None
    changed = encode_others(encode, texts, what="passages of documents")

    def judge() -> list[Proof]:
        run = _run_of_passages(subject, rows, changed, chosen)
        return [prove(subject, rows, run, change="documents found by their best passage alone")]

    return Trial((changed,), judge)


def _cut_texts(subject: Subject, read: _Reading, documents: Sequence[Rows]) -> set[int]:
    rows = np.unique(np.concatenate([np.empty(0, dtype=np.int32), *documents]))
    bounds = subject.facts.lexicon.bounds
    return set(rows[read.words_of(subject, rows) < bounds[rows + 1] - bounds[rows]].tolist())


def _run_of_passages(
    subject: Subject, rows: np.ndarray, changed: Encode, chosen: list[tuple[int, int]]
) -> Run:
    if subject.vectors is None:
        raise TypeError(f"{subject.candidate} searches no vectors")
    places = np.array([place for place, _ in chosen])
    documents = np.array([document for _, document in chosen], dtype=np.int32)
    asked = subject.vectors.queries.take(rows[places])
    own = np.arange(len(chosen), dtype=np.int32)[:, None]
    scores: Values = score_pairs(read_side(subject, changed), asked, own)[:, 0]
    return raised(
        subject,
        rows,
        [documents[places == place] for place in range(len(rows))],
        [scores[places == place] for place in range(len(rows))],
    )


def find_late(subject: Subject) -> Signs | None:
    """Tell where the passage that matches best stands in the last third of what is read.

    Flags: the texts. There is no trial.
    """
    eligible, shows = nothing(subject), nothing(subject)
    read = _reading(subject)
    reach = None if read is None else read.words_of(subject, subject.best)
    passages: dict[int, Passages] = {}
    for row, whole in _passages(subject).items():
        end = whole.words if reach is None else int(reach[row])
        parts = whole.before(end)
        if len(parts.shares) < _PARTS or not parts.shares.any():
            continue
        eligible[row] = True
        late = end * 2 // 3
        shows[row] = parts.first >= late and parts.lead(late) >= _LEAD
        passages[row] = parts
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        parts = passages[row]
        return (
            f"The passage from word {parts.first + 1:,} of the relevant document has "
            f"{parts.shares[parts.best]:.0%} of the query's words by weight, no part of the first "
            f"two thirds more than {parts.before(parts.first - parts.step).shares.max():.0%}."
        )

    return Signs(eligible, shows, subject.missed, evidence)


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
    prefers_long = retrieved.mean() > 0.5
    shows = nothing(subject)
    mine = share[subject.best[subject.findable]]
    shows[subject.findable] = mine < _FIFTH if prefers_long else mine > 1 - _FIFTH
    what = "short" if prefers_long else "long"

    def evidence(row: int) -> str:
        length = lengths[subject.best[row]]
        return (
            f"The relevant document has {length:,} characters, among the {what}est fifth; those "
            f"retrieved lie at {retrieved.mean():.0%} of the range of lengths."
        )

    return Signs(subject.findable, shows, subject.missed, evidence)


TRUNCATION = Reason(
    key="truncation",
    title="The answer lies beyond the model's limit",
    says="the passage that matches best starts beyond what the model reads",
    lever="chunking",
    detect=find_truncated,
    trial=try_passages,
    alone=True,
)
POSITION = Reason(
    key="position",
    title="The answer stands late in the text",
    says="the passage that matches best stands in the last third of what the model reads",
    lever="chunking",
    detect=find_late,
)
LENGTH = Reason(
    key="length-bias",
    title="Documents of this length are retrieved less",
    says="the relevant document is of a length that the candidate retrieves least",
    lever="fine-tune",
    detect=find_length_bias,
)
