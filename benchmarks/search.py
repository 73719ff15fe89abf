"""Exact search with a settled order against FAISS's flat index, whose ties are open."""

from __future__ import annotations

import faiss
import numpy as np
from ratio import report

from harness.retrieval.embeddings import Embeddings, unit_length
from harness.retrieval.search import search

DOCUMENTS, QUERIES, DIMENSION, DEPTH = 100_000, 500, 384, 100


def main() -> None:
    """Search the same vectors both ways; the sets of documents must agree."""
    generator = np.random.default_rng(0)
    vectors = unit_length(generator.standard_normal((DOCUMENTS, DIMENSION)).astype(np.float32))
    asked = unit_length(generator.standard_normal((QUERIES, DIMENSION)).astype(np.float32))
    documents = Embeddings([vectors], np.arange(DOCUMENTS), DIMENSION, normalised=True)
    queries = Embeddings([asked], np.arange(QUERIES), DIMENSION, normalised=True)

    def ours() -> np.ndarray:
        return search(documents, queries, depth=DEPTH).documents

    def peer() -> np.ndarray:
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(vectors)
        return index.search(asked, DEPTH)[1]

    agreeing = np.mean([set(a) == set(b) for a, b in zip(ours(), peer(), strict=True)])
    if agreeing < 0.99:
        raise SystemExit(f"only {agreeing:.0%} of the queries agree")
    report("search, faiss.IndexFlatIP / ours", ours, peer)


if __name__ == "__main__":
    main()
