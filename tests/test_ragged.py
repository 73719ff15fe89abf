"""Sparse encoders and late interaction: as sentence-transformers scores, stored, searched, told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import (
    run_suite,
    save_bert,
    save_cross_encoder,
    save_sparse,
    sentences,
    write_suite,
)

from harness.errors import ExitCode, HarnessError
from harness.models.folder import Choices, ModelKind
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.output.files import write_outputs
from harness.results.gathering import gather, gather_costs
from harness.retrieval import maxsim, ragged, sparse
from harness.retrieval.encoding import Texts
from harness.stage import Context
from harness.store import Store
from harness.suite.load import load_suite
from reports.lookup import Lookup

DOCUMENTS = [*sentences(200, seed=1, words=9), "", "ba", "ba ba ba"]
QUERIES = [*sentences(20, seed=2), ""]


def encoded(stage: type[Any], folder: Path, store: Store, kind: ModelKind, **more: Any) -> Any:
    """Return the encoded documents and queries of a model."""
    weights = find_weights(str(folder), chosen=Choices(kind=kind))
    sides = []
    for role, texts in (("document", DOCUMENTS), ("query", QUERIES)):
        side = stage(
            name="small",
            model=Given(weights),
            role=role,
            prompt=weights.prompts.get(role, ""),
            dtype="float32",
            max_length=None,
            texts=Texts("small", tuple(texts)),
            **more,
        )
        side.run(Context(store))
        sides.append(side)
    return sides


def best(scores: np.ndarray, depth: int) -> np.ndarray:
    """Return the rows of the best, the larger row first where two tie."""
    rows = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.lexsort((-rows, -scores), axis=1)[:, :depth]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")  # of the library's own similarity
@pytest.mark.parametrize("inference_free", [False, True])
@pytest.mark.parametrize("most", [None, 3])
def test_sparse_scores_are_those_of_sentence_transformers(
    tmp_path: Path,
    store: Store,
    *,
    inference_free: bool,
    most: int | None,
):
    from sentence_transformers import SparseEncoder

    folder = save_sparse(tmp_path, seed=6, inference_free=inference_free)
    model = SparseEncoder(str(folder), device="cpu")
    theirs = model.similarity(
        model.encode_query(QUERIES, max_active_dims=most),
        model.encode_document(DOCUMENTS, max_active_dims=most),
    ).numpy()
    documents, queries = encoded(ragged.EncodeSparse, folder, store, "sparse", most=most)
    space = sparse.SparseSpace(documents, queries, "dot")
    everything = np.tile(np.arange(len(DOCUMENTS), dtype=np.int32), (len(QUERIES), 1))
    ours = space.scores(store, everything)
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    sides = documents.rows(store), queries.rows(store)
    run = sparse.search_sparse(space, *sides, depth=10, most=10**6)
    expected = best(ours.astype(np.float32), 10)
    found = np.take_along_axis(ours, expected, 1) > 0
    assert np.array_equal(run.documents, np.where(found, expected, -1))
    for most_held in (1, 300):
        again = sparse.search_sparse(space, *sides, depth=10, most=most_held)
        assert np.array_equal(again.documents, run.documents)
        assert np.array_equal(again.scores, run.scores)


def test_a_sparse_search_by_cosine_compares_directions(sparse_model: Path, store: Store):
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(sparse_model), device="cpu", similarity_fn_name="cosine")
    theirs = model.similarity(
        model.encode_query(QUERIES, convert_to_sparse_tensor=False),
        model.encode_document(DOCUMENTS, convert_to_sparse_tensor=False),
    )
    sides = encoded(ragged.EncodeSparse, sparse_model, store, "sparse", most=None)
    space = sparse.SparseSpace(*sides, "cosine")
    everything = np.tile(np.arange(len(DOCUMENTS), dtype=np.int32), (len(QUERIES), 1))
    assert np.allclose(space.scores(store, everything), theirs.numpy(), atol=1e-6)


def test_a_sparse_search_gives_no_forbidden_document_and_says_which_terms_are_shared(
    tmp_path: Path, store: Store
):
    folder = save_sparse(tmp_path, seed=6, inference_free=True)
    sides = encoded(ragged.EncodeSparse, folder, store, "sparse", most=None)
    space = sparse.SparseSpace(*sides, "dot")
    rows = [side.rows(store) for side in sides]
    run = sparse.search_sparse(space, *rows, depth=5, most=10**6)
    forbidden = run.documents[:, 0].copy()
    without = sparse.search_sparse(space, *rows, depth=4, forbidden=forbidden, most=50)
    assert np.array_equal(without.documents, run.documents[:, 1:])
    for query, told in enumerate(space.shared(store, run, most=9)):
        for terms, score in zip(told, run.scores[query].tolist(), strict=False):
            assert {each.term for each in terms} <= set(QUERIES[query].split())
            assert sum(each.score for each in terms) == pytest.approx(score)


@pytest.mark.parametrize("pooling", [None, 2.0])
@pytest.mark.parametrize("name", ["maxsim", "meanmaxsim"])
def test_late_interaction_scores_are_those_of_sentence_transformers(
    multi_vector_model: Path, store: Store, pooling: float | None, name: str
):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    model = MultiVectorEncoder(str(multi_vector_model), device="cpu", similarity_fn_name=name)
    pool = None if pooling is None else HierarchicalTokenPooling(pooling)
    theirs = model.similarity(
        model.encode_query(QUERIES), model.encode_document(DOCUMENTS, token_pooling=pool)
    ).numpy()
    sides = encoded(ragged.EncodeTokens, multi_vector_model, store, "multi-vector", pooling=pooling)
    space = maxsim.TokenSpace(*sides, mean=name == "meanmaxsim")
    everything = np.tile(np.arange(len(DOCUMENTS), dtype=np.int32), (len(QUERIES), 1))
    ours = space.scores(store, everything)
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    documents, queries = (side.rows(store) for side in sides)
    run = maxsim.search_tokens(space, documents, queries, depth=10)
    assert np.array_equal(run.documents, best(ours.astype(np.float32), 10))
    forbidden = run.documents[:, 0].copy()
    for block in (1, 40):
        again = maxsim.search_tokens(space, documents, queries, depth=10, block_rows=block)
        assert np.array_equal(again.documents, run.documents)
        assert np.array_equal(again.scores, run.scores)
    without = maxsim.search_tokens(space, documents, queries, depth=9, forbidden=forbidden)
    assert np.array_equal(without.documents, run.documents[:, 1:])


def test_many_equal_documents_at_the_border_are_proposed_a_longer_list():
    """300 times the same tokens: their ids decide which of them rank."""
    tokens = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    count = 300
    many = ragged.StoredRows(
        [tokens], np.zeros(count, int), np.zeros(count, int), np.full(count, 3)
    )
    one = ragged.StoredRows([tokens], np.zeros(1, int), np.zeros(1, int), np.array([3]))
    space = maxsim.TokenSpace(None, None, mean=False)  # type: ignore[arg-type]
    run = maxsim.search_tokens(space, many, one, depth=10, block_rows=50)
    assert run.documents.tolist() == [list(range(299, 289, -1))]


def test_texts_that_are_known_are_not_encoded_again(
    multi_vector_model: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    weights = find_weights(str(multi_vector_model), chosen=Choices(kind="multi-vector"))
    seen: list[str] = []
    encode = ragged.MultiVectorModel.encode

    def watched(self: Any, texts: Any, **how: Any) -> Any:
        seen.extend(texts)
        return encode(self, texts, **how)

    monkeypatch.setattr(ragged.MultiVectorModel, "encode", watched)

    def stage(texts: list[str]) -> ragged.EncodeTokens:
        return ragged.EncodeTokens(
            "small", Given(weights), "document", "", "float32", None, Texts("s", tuple(texts)), None
        )

    first = stage(DOCUMENTS)
    assert not first.is_done(store)
    first.run(Context(store))
    assert sorted(seen) == sorted(DOCUMENTS)
    seen.clear()
    changed = stage([*DOCUMENTS[:50], "bo bo bo", *DOCUMENTS[51:]])
    changed.run(Context(store))
    assert seen == ["bo bo bo"]
    before, after = first.rows(store), changed.rows(store)
    kept = np.delete(np.arange(len(DOCUMENTS)), 50)
    assert np.array_equal(before.take(kept).values, after.take(kept).values)
    seen.clear()
    fewer = stage(DOCUMENTS[60:100])
    fewer.run(Context(store))
    assert seen == []
    rows = np.arange(60, 100)
    assert np.array_equal(fewer.rows(store).take(rows - 60).values, before.take(rows).values)


def test_an_interrupted_encoding_goes_on_after_the_last_whole_shard(
    sparse_model: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    weights = find_weights(str(sparse_model), chosen=Choices(kind="sparse"))
    texts = Texts("many", tuple(sentences(1500, seed=3)))
    stage = ragged.EncodeSparse(
        "small", Given(weights), "document", "", "float32", None, texts, None
    )
    assert len(texts.shards) > 2
    encode, seen, most = ragged.SparseModel.encode, [0], [len(texts.shards[0].texts) + 1]

    def killed(self: Any, some: Any, **how: Any) -> Any:
        seen[0] += len(some)
        if seen[0] > most[0]:
            raise KeyboardInterrupt
        return encode(self, some, **how)

    monkeypatch.setattr(ragged.SparseModel, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        stage.run(Context(store))
    left = len(texts.items) - len(texts.shards[0].texts)
    seen[0], most[0] = 0, left
    stage.run(Context(store))
    assert seen[0] == left
    other = Store(tmp_path / "undisturbed")
    seen[0], most[0] = 0, len(texts.items)
    stage.run(Context(other))
    everything = np.arange(len(texts.items))
    found, expected = (stage.rows(each).take(everything) for each in (store, other))
    assert np.array_equal(found.values, expected.values)
    assert np.array_equal(found.sizes, expected.sizes)


SUITE = """
baseline = "splade"
[collections.small]
source = "beir:{beir}"
[candidates.splade]
sparse = "{sparse}"
[candidates.few]
sparse = "{sparse}"
max_active_dims = 4
[candidates.colbert]
multi_vector = "{multi}"
[candidates.pooled]
multi_vector = "{multi}"
token_pooling = 2
[candidates.cascade]
from = "splade"
rerank = {{ candidate = "colbert", depth = 20 }}
[candidates.back]
from = "colbert"
rerank = {{ candidate = "splade", depth = 20 }}
[candidates.judged]
from = "splade"
rerank = {{ model = "{cross}", depth = 20 }}
[candidates.both]
fuse = ["splade", "colbert"]
"""


@pytest.fixture
def suite(
    tmp_path: Path, beir: Path, sparse_model: Path, multi_vector_model: Path, cross_encoder: Path
) -> Path:
    text = SUITE.format(
        beir=beir, sparse=sparse_model, multi=multi_vector_model, cross=cross_encoder
    )
    return write_suite(tmp_path / "suite.toml", text)


def test_they_are_candidates_like_any_other(suite: Path, store: Store):
    plan = run_suite(suite, store)
    assert all(stage.is_done(store) for stage in plan.stages)
    told = {each.candidate: each for each in gather_costs(plan).costs}
    kinds = {each.name: each.kind for each in gather(plan).candidates}
    assert kinds["splade"] == "sparse"
    assert kinds["colbert"] == "multi_vector"
    assert told["few"].bytes_per_document < told["splade"].bytes_per_document
    assert told["pooled"].bytes_per_document < told["colbert"].bytes_per_document
    assert told["splade"].query_ms_p50 > 0
    assert told["splade"].documents_per_second > 0
    assert told["cascade"].parameters == told["splade"].parameters + told["colbert"].parameters
    cascade = plan.planner.run_stage("cascade", "small").result(store)
    full = plan.planner.run_stage("colbert", "small").result(store)
    assert cascade.documents.shape == full.documents.shape
    top = {
        (query, document): score
        for query, row in enumerate(full.documents.tolist())
        for document, score in zip(row, full.scores[query].tolist(), strict=True)
    }
    for query, row in enumerate(cascade.documents[:, :20].tolist()):
        for rank, document in enumerate(row):
            assert document < 0 or cascade.scores[query, rank] == top[query, document]


def test_why_a_document_is_found_stands_beside_it_in_the_results(
    suite: Path, store: Store, tmp_path: Path
):
    plan = run_suite(suite, store)
    write_outputs(plan, gather(plan), gather_costs(plan), tmp_path / "results")
    lookup = Lookup(tmp_path / "results")
    for ranked in lookup.ranking("splade", "small", "q00"):
        told = [float(each.rsplit(" ", 1)[1]) for each in ranked.terms.split(", ")]
        assert 0 < len(told) <= 8
        assert sum(told) <= ranked.score + 0.05
        assert told == sorted(told, reverse=True)
    assert {ranked.terms for ranked in lookup.ranking("colbert", "small", "q00")} == {""}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('from = "splade"\ntruncate = 8', "'splade' has no vectors of whole texts to truncate"),
        ('from = "colbert"\nquantize = "int8"', "'colbert' has no vectors of whole texts to quant"),
        ('from = "splade"\ninterpolate = 0.5', "'splade' is not trained here"),
        (
            'from = "colbert"\nfinetune = { data = "small:train" }',
            "'colbert' cannot be trained here",
        ),
    ],
)
def test_what_only_vectors_of_whole_texts_can_be_is_refused(suite: Path, table: str, said: str):
    suite.write_text(suite.read_text() + f"[candidates.x]\n{table}\n")
    with pytest.raises(HarnessError, match="candidate 'x'") as refused:
        load_suite(suite)
    [problem] = refused.value.problems
    assert said in problem


@pytest.mark.parametrize(
    ("make", "asked", "said"),
    [
        (lambda f: save_bert(f, seed=1), "sparse", 'model = "'),
        (lambda f: save_bert(f, seed=1), "multi-vector", 'model = "'),
        (lambda f: save_bert(f, seed=1).parent / "plain", "multi-vector", "or untrained"),
        (lambda f: save_cross_encoder(f, seed=1), "sparse", "rerank = { model = … }"),
        (lambda f: save_sparse(f, seed=1), "dense", 'sparse = "'),
        (lambda f: save_sparse(f, seed=1), "multi-vector", 'sparse = "'),
    ],
)
def test_a_model_of_another_kind_is_refused_with_the_line_to_write(
    tmp_path: Path, make: Callable[[Path], Path], asked: ModelKind, said: str
):
    with pytest.raises(HarnessError) as refused:
        find_weights(str(make(tmp_path)), chosen=Choices(kind=asked))
    assert refused.value.exit_code == ExitCode.USAGE
    [problem] = refused.value.problems
    assert said in problem


def test_a_bare_masked_language_model_is_a_sparse_encoder_where_the_suite_says_so(
    sparse_model: Path,
):
    plain = sparse_model.parent / "plain"
    found = find_weights(str(plain), chosen=Choices(kind="sparse"))
    assert found.layout == "sparse"
    assert "no modules.json" in found.doubts[0]
    assert found.key != find_weights(str(sparse_model), chosen=Choices(kind="sparse")).key


def test_a_head_that_the_weights_do_not_hold_is_refused(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    plain = save_sparse(tmp_path, seed=1).parent / "plain"
    tensors = load_file(plain / "model.safetensors")
    kept = {key: each for key, each in tensors.items() if not key.startswith("cls.")}
    save_file(kept, plain / "model.safetensors", {"format": "pt"})
    weights = find_weights(str(plain), chosen=Choices(kind="sparse"))
    with pytest.raises(HarnessError, match="the model would be random"):
        ragged.SparseModel(weights, device="cpu")
