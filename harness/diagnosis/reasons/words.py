"""Words: what the query and its document share, what they do not, and what a tokenizer makes."""

from __future__ import annotations

import numpy as np

from harness.diagnosis.lexicon import terms_of
from harness.diagnosis.reasons.reason import Proof, Reason, Signs, encoder, look, prove
from harness.diagnosis.subject import Subject
from harness.diagnosis.words import INDEXED_WORDS
from harness.models.tokens import load_tokenizer
from harness.retrieval.fusion import fuse
from harness.stage import Context
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
    rows, lexicon = np.flatnonzero(subject.findable), subject.facts.lexicon
    covered = dict(zip(rows.tolist(), lexicon.coverage(rows, subject.best[rows]), strict=True))
    ranks = None if subject.compares_words else subject.word_ranks

    def see(row: int) -> str | bool:
        if covered[row] >= _COVERED or (ranks is not None and 0 < ranks[row] <= _LOST_TO_WORDS):
            return False
        missing = lexicon.missing_terms(row, int(subject.best[row]))
        listed = ", ".join(f"'{term}'" for term in missing[:4])
        return (
            f"The relevant document has {covered[row]:.0%} of the query's weight in words; it "
            f"lacks {listed or 'every word'}."
        )

    return look(subject, see)


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

    def see(row: int) -> str | bool | None:
        rarest, *_ = [*lexicon.shared_terms(row, int(subject.best[row])), None]
        if rarest is None or lexicon.document_frequency[rarest] > limit:
            return None if rarest is None else False
        wrong = subject.top[row][subject.wrong[row]].tolist()
        having = sum(rarest in terms_of(lexicon.documents, other) for other in wrong)
        return having > (1 - _ABSENT) * len(wrong) or (
            f"Query and relevant document share the rare '{lexicon.terms[rarest]}'; {having} of "
            f"the {len(wrong)} wrong documents retrieved have it."
        )

    return look(subject, see, harm=True)


def try_fusion(subject: Subject, signs: Signs, _context: Context) -> list[Proof]:
    """Fuse the run with BM25's by reciprocal ranks, for all queries."""
    fused = fuse([subject.run, subject.word_run], Fuse(fuse=["as run", "bm25"]))
    return [prove(subject, signs, fused, change="reciprocal rank fusion with BM25")]


def find_fragments(subject: Subject) -> Signs | None:
    """Tell which queries have a word that the model's tokenizer does not know as a word.

    Flags: the query's text and the tokenizer. There is no trial.
    """
    encode = encoder(subject, "query")
    weights = None if encode is None else encode.model.weights(subject.store)
    tokenizer = None if weights is None else load_tokenizer(weights)
    if tokenizer is None:
        return None

    def see(row: int) -> str | bool:
        broken = []
        for word in dict.fromkeys(INDEXED_WORDS.findall(subject.collection.queries[row])):
            tokens = tokenizer.encode(word, add_special_tokens=False).tokens
            unknown = any(token.lower() in _UNKNOWN for token in tokens)
            if (len(tokens) >= _PIECES or unknown) and not word.isdigit():
                broken.append(f"'{word}' into {' '.join(tokens)}")
        return bool(broken) and f"The tokenizer breaks {'; '.join(broken[:3])}."

    return look(subject, see)


VOCABULARY = Reason(
    key="vocabulary-mismatch",
    title="Vocabulary mismatch",
    says="the relevant document has hardly any words of the query",
    lever="fine-tune",
    detect=find_mismatch,
    of_words="hybrid",
    hosted="expansion",
)
IGNORED = Reason(
    key="lexical-evidence-ignored",
    title="A rare, decisive term is ignored",
    says="query and relevant document share a term that hardly any other document has",
    lever="hybrid",
    detect=find_ignored_words,
    trial=try_fusion,
    harm="most of the wrong documents lack the term",
)
FRAGMENTS = Reason(
    key="fragmentation",
    title="Out-of-vocabulary words",
    says="the tokenizer splits a word of the query into four or more pieces, or does not know it",
    lever="fine-tune",
    detect=find_fragments,
)
