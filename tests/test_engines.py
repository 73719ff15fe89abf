"""Other engines than torch: the same numbers from the same texts, or one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_packing import MODELS, fed, modern_bert, mpnet, own, saved

from harness.errors import ExitCode, HarnessError
from harness.models import engines
from harness.models.biencoder import BiEncoder
from harness.models.crossencoder import CrossEncoder
from harness.models.engines import Engine, EngineName
from harness.models.weights import find_weights
from harness.store import Store

ENGINES = ("openvino", "onnx")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    name: EngineName = request.param
    if not engines.is_installed(name):
        pytest.skip(f"the '{name}' extra is not installed")
    return Engine(name)


ALL = [
    *MODELS,
    pytest.param(modern_bert, {}, id="modern-bert"),
    pytest.param(mpnet, {}, id="mpnet"),
]
# What an engine does itself is another kind of model; pooling and what follows is done after both.
KINDS = {"mean", "roberta", "qwen-left", "qwen-right", "modern-bert", "mpnet"}


@pytest.mark.parametrize(
    ("engine", "make", "options"),
    [
        pytest.param(
            name,
            *each.values,
            id=f"{name}-{each.id}",
            marks=[pytest.mark.slow] if name == "openvino" and each.id not in KINDS else [],
        )
        for name in ENGINES
        for each in ALL
    ],
    indirect=["engine"],
)
def test_vectors_are_those_of_sentence_transformers(
    tmp_path: Path,
    store: Store,
    engine: Engine,
    make: Callable[[], Any],
    options: dict[str, Any],
):
    weights = find_weights(str(saved(tmp_path, make, **options)))
    by_torch, model = BiEncoder(weights, device="cpu"), BiEncoder(weights, device="cpu")
    model.run_by(engine, store)
    for prompt in ("", "ca ce "):
        wanted = own(by_torch, prompt, "document")
        assert np.allclose(fed(model, prompt, "document"), wanted, atol=2e-6)
        assert np.allclose(own(model, prompt, "document"), wanted, atol=2e-6)  # one at a time


def test_scores_are_those_of_sentence_transformers(
    cross_encoder: Path, store: Store, engine: Engine
):
    pairs = [("ba be", text) for text in ("", "unknown", "bi bo ca " * 9, "ce", "ba be bi")]
    model = CrossEncoder(find_weights(str(cross_encoder)), device="cpu")
    wanted = model.score(pairs)
    model.run_by(engine, store)
    assert np.allclose(model.score(pairs), wanted, atol=2e-6)
    feed = model.feed(pairs)
    assert feed is not None
    sides = [feed.feed.tokenise([pair[side] for pair in pairs]) for side in (0, 1)]
    rows = np.stack([np.arange(5)] * 2, axis=1)
    found = model.score_tokens(feed.join(sides[0], sides[1], rows), feed=feed)()
    assert np.allclose(found, wanted, atol=2e-6)


def test_an_export_is_made_once_and_read_by_who_comes_later(
    bert_model: Path, store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    weights = find_weights(str(bert_model))
    BiEncoder(weights, device="cpu").run_by(engine, store)
    [export] = store.list("exports")
    monkeypatch.setattr(engines, "_export", lambda *_: pytest.fail("it is exported again"))
    BiEncoder(weights, device="cpu").run_by(engine, store)
    assert store.list("exports") == [export]


@pytest.mark.parametrize("how", ["raises", "computes other numbers", "gives no numbers"])
def test_an_export_that_fails_or_differs_is_one_error_and_is_not_kept(
    bert_model: Path, store: Store, engine: Engine, monkeypatch: pytest.MonkeyPatch, how: str
):
    def other(*_: Any) -> Any:
        if how == "raises":
            raise RuntimeError("no such operator: MagicNorm")
        factor = np.float32(1 if how == "computes other numbers" else np.nan)
        return lambda inputs: factor * np.ones((*inputs["input_ids"].shape, 16), np.float32)

    monkeypatch.setattr(engines, "_loaded", other)
    model = BiEncoder(find_weights(str(bert_model)), device="cpu")
    with pytest.raises(HarnessError, match=f"{engine.name} cannot compute it: .*torch") as caught:
        model.run_by(engine, store)
    assert caught.value.exit_code is ExitCode.STAGE
    assert store.list("exports") == []
    assert np.isfinite(model.encode(["ba"], role="query", prompt="")).all()  # by torch, still


def test_static_embeddings_are_no_transformer(static_model: Path, store: Store):
    model = BiEncoder(find_weights(str(static_model)), device="cpu")
    with pytest.raises(HarnessError, match="not this model"):
        model.run_by(Engine("onnx"), store)
