"""Both fast ways through a model, fed with ids and packed, against sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from conftest import DIMENSION, MAX_TOKENS, SPECIAL, WORDS, _fast_tokenizer, sentences

from harness.models import biencoder
from harness.models.biencoder import BiEncoder
from harness.models.weights import find_weights

TEXTS = ["", "unknown words", " ba ", *sentences(40, seed=1, words=20), " ".join(WORDS)]
SIZES = {
    "vocab_size": len(SPECIAL + WORDS),
    "hidden_size": DIMENSION,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "initializer_range": 0.3,
}


def bert() -> Any:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**SIZES, max_position_embeddings=MAX_TOKENS))


def roberta() -> Any:
    """Return a model whose positions begin after the id that pads."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    positions = MAX_TOKENS + 1
    config = XLMRobertaConfig(**SIZES, pad_token_id=0, max_position_embeddings=positions)
    return XLMRobertaModel(config)


def qwen() -> Any:
    """Return a causal model with fewer heads of keys than of queries."""
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=8, pad_token_id=0))


def modern_bert() -> Any:
    """Return a model whose attention looks at its neighbours only."""
    from transformers import ModernBertConfig, ModernBertModel

    return ModernBertModel(
        ModernBertConfig(**SIZES, local_attention=4, global_attn_every_n_layers=2, pad_token_id=0)
    )


def mpnet() -> Any:
    """Return a model that adds a bias to its attention."""
    from transformers import MPNetConfig, MPNetModel

    return MPNetModel(MPNetConfig(**SIZES, pad_token_id=0, max_position_embeddings=MAX_TOKENS + 2))


def saved(
    folder: Path,
    make: Callable[[], Any],
    *,
    pooling: str = "mean",
    include_prompt: bool = True,
    left: bool = False,
    after: Sequence[str] = (),
) -> Path:
    """Save a bi-encoder with these modules after its pooling."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import (
        LayerNorm,
        Normalize,
        Pooling,
        Transformer,
    )

    torch.manual_seed(4)
    plain = folder / "plain"
    make().save_pretrained(plain)
    tokenizer = _fast_tokenizer()
    tokenizer.padding_side = "left" if left else "right"
    tokenizer.save_pretrained(plain)
    modules: list[Any] = [
        Transformer(str(plain)),
        Pooling(DIMENSION, pooling_mode=pooling, include_prompt=include_prompt),
    ]
    kinds: dict[str, Callable[[], Any]] = {
        "dense": lambda: Dense(DIMENSION, 8),
        "norm": lambda: LayerNorm(DIMENSION),
        "normalize": Normalize,
    }
    modules += [kinds[name]() for name in after]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def own(model: BiEncoder, prompt: str, role: str) -> npt.NDArray[np.float32]:
    encode = model.model.encode_query if role == "query" else model.model.encode_document
    return np.asarray(encode(TEXTS, prompt=prompt, show_progress_bar=False))


def fed(model: BiEncoder, prompt: str, role: Literal["query", "document"]) -> Any:
    feed = model.feed(role=role, prompt=prompt)
    assert feed is not None
    tokens = feed.tokenise(TEXTS)
    return model.encode_tokens(tokens, feed=feed, role=role, advance=lambda _: None)()


POOLINGS = ["mean", "cls", "lasttoken", "weightedmean", "max", "mean_sqrt_len_tokens"]
MODELS: list[Any] = [
    *(pytest.param(bert, {"pooling": pooling}, id=pooling) for pooling in POOLINGS),
    pytest.param(bert, {"include_prompt": False}, id="without-prompt"),
    pytest.param(bert, {"pooling": "weightedmean", "include_prompt": False}, id="weighted-without"),
    pytest.param(bert, {"after": ["dense", "normalize"]}, id="dense"),
    pytest.param(bert, {"after": ["norm"]}, id="layer-norm"),
    pytest.param(bert, {"left": True}, id="left"),
    pytest.param(roberta, {}, id="roberta"),
    pytest.param(qwen, {"pooling": "lasttoken", "left": True}, id="qwen-left"),
    pytest.param(qwen, {"pooling": "lasttoken"}, id="qwen-right"),
]


# A prompt asks more of every model than none does.
@pytest.mark.parametrize("prompt", [pytest.param("", marks=pytest.mark.slow), "ca ce "])
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(("make", "options"), MODELS)
def test_vectors_are_those_of_sentence_transformers_by_either_way(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Any],
    options: dict[str, Any],
    packed: bool,  # noqa: FBT001
    prompt: str,
):
    monkeypatch.setattr(biencoder, "has_flash", lambda *_: packed)
    model = BiEncoder(find_weights(str(saved(tmp_path, make, **options))), device="cpu")
    found = fed(model, prompt, "document")
    assert model.packs(role="document", prompt=prompt) == packed
    assert np.allclose(found, own(model, prompt, "document"), atol=2e-6)
    # The attention of packed texts is that of the packed forward pass alone.
    assert np.allclose(own(model, prompt, "document"), found, atol=2e-6)


@pytest.mark.parametrize("make", [modern_bert, mpnet])
def test_a_model_whose_attention_is_of_another_kind_is_padded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]
):
    monkeypatch.setattr(biencoder, "has_flash", lambda *_: True)
    model = BiEncoder(find_weights(str(saved(tmp_path, make))), device="cpu")
    found = fed(model, "", "document")
    assert not model.packs(role="document", prompt="")
    assert np.allclose(found, own(model, "", "document"), atol=2e-6)


def test_on_a_cpu_nothing_is_packed(bert_model: Path):
    model = BiEncoder(find_weights(str(bert_model)), device="cpu", dtype="bfloat16")
    fed(model, "", "query")
    assert not model.packs(role="query", prompt="")
