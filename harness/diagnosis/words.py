"""Words: stemmed words and word pairs of texts, as predicates and as terms of labels."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")  # noqa: RUF001  a typographic apostrophe is meant


@dataclass(frozen=True)
class Terms:
    """Which stemmed words and bigrams stand in which texts.

    Attributes:
        counts: CSR int [n_texts, n_terms].
        shown: of each term, the form that stands most often in the texts.
        stems: of each term, its one or two stems.
    """

    counts: Any
    shown: tuple[str, ...]
    stems: tuple[tuple[str, ...], ...]


def count_terms(texts: Sequence[str], *, language: str = "english", least: int = 2) -> Terms:
    """Count stemmed words and bigrams.

    Args:
        texts: any.
        language: of the stemmer, or "none" for words as they are.
        least: texts that a term must stand in to be kept.
    """
    import Stemmer
    from scipy.sparse import csr_array

    stem_words = list if language == "none" else Stemmer.Stemmer(language).stemWords
    forms: dict[tuple[str, ...], Counter[str]] = {}
    per_text: list[Counter[tuple[str, ...]]] = []
    for text in texts:
        words = _WORD.findall(text.lower())
        stems = stem_words(words)
        found: Counter[tuple[str, ...]] = Counter()
        for word, root in zip(words, stems, strict=True):
            found[(root,)] += 1
            forms.setdefault((root,), Counter())[word] += 1
        for (first, second), roots in zip(pairwise(words), pairwise(stems), strict=True):
            found[roots] += 1
            forms.setdefault(roots, Counter())[f"{first} {second}"] += 1
        per_text.append(found)
    in_texts = Counter(term for found in per_text for term in found)
    kept = sorted(term for term, count in in_texts.items() if count >= least)
    places = {term: place for place, term in enumerate(kept)}
    rows, columns, values = [], [], []
    for row, found in enumerate(per_text):
        for term, count in found.items():
            if term in places:
                rows.append(row)
                columns.append(places[term])
                values.append(count)
    shape = (len(texts), len(kept))
    counts = csr_array((np.array(values, dtype=np.int64), (rows, columns)), shape=shape)
    counts.sort_indices()
    shown = tuple(
        min(forms[term].items(), key=lambda item: (-item[1], item[0]))[0] for term in kept
    )
    return Terms(counts=counts, shown=shown, stems=tuple(kept))
