"""Shards: a text that is known is not encoded again, and a store holds its vectors once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import WORDS
from test_encoding import encode_stage

from harness.retrieval import encoding
from harness.retrieval.encoding import Encode
from harness.stage import Context
from harness.store import Store


def texts_of(count: int, *, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=5)) + f" {number}" for number in range(count)]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(encoding, "SHARD_MEAN", 16)
    monkeypatch.setattr(encoding, "SHARD_MAX", 40)


def encoded(stage: Encode, store: Store) -> int:
    """Run a stage and return how many texts it encoded, as it said before."""
    count = stage.work(store).texts
    stage.run(Context(store=store))
    assert stage.is_done(store)
    assert stage.work(store).texts == 0
    return count


def vectors(stage: Encode, store: Store) -> np.ndarray:
    found = stage.embeddings(store, normalised=False)
    return found.block(0, len(found))


def stored_rows(store: Store) -> int:
    return sum(len(np.load(path)) for path in store.root.glob("embeddings/*/*/vectors.npy"))


@pytest.mark.parametrize("kind", ["static_model", "bert_model"])
def test_texts_that_changed_are_encoded_and_no_others(
    kind: str, request: pytest.FixtureRequest, store: Store, tmp_path: Path
):
    model = request.getfixturevalue(kind)
    before = texts_of(300)
    assert encoded(encode_stage(model, before), store) == 300
    after = list(before)
    for row in (3, 77, 78, 250):
        after[row] = f"{after[row]} changed"
    after.insert(40, "a new one")
    del after[120:125]
    changed = encode_stage(model, after)
    assert encoded(changed, store) == 5
    assert 305 <= stored_rows(store) < 330  # a little is copied where shards are cut elsewhere
    plain = Store(tmp_path / "other")
    alone = encode_stage(model, after)
    assert encoded(alone, plain) == 296
    assert np.allclose(vectors(changed, store), vectors(alone, plain), atol=1e-6)


def test_texts_that_are_all_known_load_no_model(
    static_model: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    texts = texts_of(200)
    encoded(encode_stage(static_model, texts), store)
    part = encode_stage(static_model, texts[17:190:2])
    monkeypatch.setattr(Encode, "load", None)
    assert encoded(part, store) == 0
    whole = vectors(encode_stage(static_model, texts), store)
    assert (vectors(part, store) == whole[17:190:2]).all()
    assert stored_rows(store) <= 300  # what a shard lends least is copied


@pytest.mark.parametrize("nights", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_nights_of_changes_leave_the_vectors_whole(nights: int, static_model: Path, store: Store):
    texts = texts_of(200)
    encoded(encode_stage(static_model, texts), store)
    draw = np.random.default_rng(1)
    for night in range(nights):
        for row in draw.choice(200, size=3, replace=False):
            texts[row] = f"{WORDS[row % len(WORDS)]} of night {night}, {row}"
        assert encoded(encode_stage(static_model, texts), store) == 3
    found = vectors(encode_stage(static_model, texts), store)
    alone = encode_stage(static_model, texts)
    assert np.allclose(found, vectors(alone, store))
    fresh = Store(store.root.parent / "fresh")
    encoded(encode_stage(static_model, texts), fresh)
    assert np.allclose(found, vectors(encode_stage(static_model, texts), fresh), atol=1e-6)


def test_a_lender_that_is_lost_is_made_again(static_model: Path, store: Store):
    before = texts_of(120)
    encoded(encode_stage(static_model, before), store)
    after = [*before[:60], "changed", *before[61:]]
    stage = encode_stage(static_model, after)
    encoded(stage, store)
    wanted = vectors(stage, store)
    for path in store.root.glob("embeddings/*/*/vectors.npy"):
        if len(np.load(path)) > 1:
            path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")
    again = encode_stage(static_model, after)
    assert not again.is_done(Store(store.root))
    encoded(again, Store(store.root))
    assert np.allclose(vectors(again, Store(store.root)), wanted, atol=1e-6)


def test_what_is_known_of_another_collection_is_not_stored_twice(static_model: Path, store: Store):
    ours, theirs = texts_of(100), texts_of(100, seed=1)
    encoded(encode_stage(static_model, ours), store)
    assert encoded(encode_stage(static_model, [*theirs, *ours]), store) == 100
    assert stored_rows(store) <= 240
