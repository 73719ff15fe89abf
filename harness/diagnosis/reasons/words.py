"""Words: what the query and its document share, what they do not, and what a tokenizer makes."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.diagnosis.lexicon import terms_of
from harness.diagnosis.reasons.signs import Proof, Reason, Signs, Trial, nothing
from harness.diagnosis.reasons.trials import encoder, prove
from harness.diagnosis.subject import Subject
from harness.diagnosis.text import INDEXED_WORDS
from harness.models.tokens import load_tokenizer
from harness.retrieval.fusion import fuse
from harness.suite.kinds.fuse import Fuse

_COVERED = 0.25
_LOST_TO_WORDS = 100
_RARE_SHARE, _RARE_AT_LEAST = 0.001, 5
_ABSENT = 0.7
_PIECES = 4
_UNKNOWN = {"[unk]", "<unk>"}


def find_mismatch(subject: Subject) -> Signs:
    """Tell whose best relevant document has hardly a word of the query, nor is found by BM25.

    Flags: the texts, and BM25's rank where the candidate is not BM25 itself. There is no trial.
    """
    shows = nothing(subject)
    rows = np.flatnonzero(subject.findable)
    lexicon = subject.facts.lexicon
    covered = np.zeros(subject.n_queries)
    covered[rows] = lexicon.coverage(rows, subject.best[rows])
    shows[rows] = covered[rows] < _COVERED
    if not subject.compares_words:
        ranks = subject.word_ranks
        shows &= (ranks == 0) | (ranks > _LOST_TO_WORDS)

    def evidence(row: int) -> str:
        missing = lexicon.missing_terms(row, int(subject.best[row]))
        listed = ", ".join(f"'{term}'" for term in missing[:4])
        return (
            f"The relevant document has {covered[row]:.0%} of the query's weight in words; it "
            f"lacks {listed or 'every word'}."
        )

    return Signs(subject.findable, shows, subject.missed, evidence)


def find_ignored_words(subject: Subject) -> Signs | None:
    """Tell where query and document share a word that hardly any other document has.

    Asked of queries that share any word with their document. Flags: the texts; what BM25 ranks is
    not used, since the trial, a fusion with BM25, finds what BM25 finds. It is at work where most
    of the wrong documents lack the word.
    """
    if subject.compares_words:
        return None
    lexicon = subject.facts.lexicon
    limit = max(_RARE_AT_LEAST, _RARE_SHARE * len(subject.collection.documents))
    eligible, shows, at_work = nothing(subject), nothing(subject), nothing(subject)
    words: dict[int, tuple[str, int, int]] = {}
    for row in np.flatnonzero(subject.findable):
        shared = lexicon.shared_terms(int(row), int(subject.best[row]))
        eligible[row] = bool(shared)
        if not shared or lexicon.document_frequency[shared[0]] > limit:
            continue
        shows[row] = True
        wrong = subject.top[row][subject.wrong[row]]
        having = sum(shared[0] in terms_of(lexicon.documents, int(other)) for other in wrong)
        at_work[row] = having <= (1 - _ABSENT) * len(wrong)
        words[int(row)] = (lexicon.terms[shared[0]], int(having), len(wrong))
    if not shows.any():
        return None

    def evidence(row: int) -> str:
        word, having, among = words[row]
        return (
            f"Query and relevant document share the rare '{word}'; {having} of the {among} wrong "
            "documents retrieved have it."
        )

    return Signs(eligible, shows, subject.missed, evidence, at_work)


def try_fusion(subject: Subject, signs: Signs) -> Trial:  # noqa: ARG001  a trial is asked alike
    """Fuse the run with BM25's by reciprocal ranks, for all queries."""

    def judge() -> list[Proof]:
        fused = fuse([subject.run, subject.word_run], Fuse(fuse=["as run", "bm25"]))
        rows = np.arange(subject.n_queries)
        return [prove(subject, rows, fused, change="reciprocal rank fusion with BM25")]

    return Trial((), judge)


def find_fragments(subject: Subject) -> Signs | None:
    """Tell which queries have a word that the model's tokenizer does not know as a word.

    Flags: the query's text and the tokenizer. There is no trial.
    """
    encode = encoder(subject, "query")
    weights = None if encode is None else encode.model.weights(subject.store)
    tokenizer = None if weights is None else load_tokenizer(weights)
    if tokenizer is None:
        return None
    pieces = [_broken_words(tokenizer, text) for text in subject.collection.queries]
    shows = np.array([len(broken) > 0 for broken in pieces], dtype=bool)

    def evidence(row: int) -> str:
        return f"The tokenizer breaks {'; '.join(pieces[row][:3])}."

    return Signs(subject.findable, shows, subject.missed, evidence)


def _broken_words(tokenizer: Any, text: str) -> list[str]:
    """Return the words that become four pieces or more, or an unknown one, as told to people."""
    told = []
    for word in dict.fromkeys(INDEXED_WORDS.findall(text)):
        tokens = tokenizer.encode(word, add_special_tokens=False).tokens
        unknown = any(token.lower() in _UNKNOWN for token in tokens)
        if (len(tokens) >= _PIECES or unknown) and not word.isdigit():
            told.append(f"'{word}' into {' '.join(tokens)}")
    return told


VOCABULARY = Reason(
    key="vocabulary-mismatch",
    title="The document says it in other words",
    says="the relevant document has hardly a word of the query",
    lever="fine-tune",
    detect=find_mismatch,
)
IGNORED = Reason(
    key="lexical-evidence-ignored",
    title="A rare word that decides is ignored",
    says="query and relevant document share a word that hardly any other document has",
    lever="hybrid",
    detect=find_ignored_words,
    trial=try_fusion,
)
FRAGMENTS = Reason(
    key="fragmentation",
    title="Words that the tokenizer does not know",
    says="a word of the query is broken into four pieces or more, or unknown to the tokenizer",
    lever="fine-tune",
    detect=find_fragments,
)
