from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SPECIAL, WORDS, sentences
from hypothesis import given
from hypothesis import strategies as st

from harness.models.crossencoder import CrossEncoder
from harness.models.pairs import PairFeed, cut
from harness.models.weights import find_weights

QUERIES = ["", "unknown words", *sentences(8, seed=1), " ".join(WORDS)]
DOCUMENTS = ["", " ba ", *sentences(20, seed=2, words=20), " ".join(WORDS)]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 20))
def test_pairs_are_cut_as_the_tokenizer_cuts_them(one: int, other: int, room: int):
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    if room:  # without room tokenizers refuses to cut
        tokenizer.enable_truncation(room, strategy="longest_first")
        wanted = tokenizer.encode(" ".join("a" * one), " ".join("b" * other)).ids
        found = cut(np.array([one]), np.array([other]), room)
        assert [int(each[0]) for each in found] == [wanted.count(0), wanted.count(1)]
    whole = cut(np.array([one]), np.array([other]), None)
    assert [int(each[0]) for each in whole] == [one, other]


def roberta(folder: Path) -> Path:
    """Save a cross-encoder with two special tokens between the texts, and no types."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        PreTrainedTokenizerFast,
        XLMRobertaConfig,
        XLMRobertaForSequenceClassification,
    )

    places = {word: place for place, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordLevel(places, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] [SEP] $B [SEP]",
        special_tokens=[(word, places[word]) for word in ("[CLS]", "[SEP]")],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=24,
        model_input_names=["input_ids", "attention_mask"],
        **names,
    ).save_pretrained(folder)
    torch.manual_seed(5)
    config = XLMRobertaConfig(
        vocab_size=len(places),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=25,
        pad_token_id=0,
        num_labels=1,
        initializer_range=0.5,
    )
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    return folder


def all_pairs() -> np.ndarray:
    rows = np.indices((len(QUERIES), len(DOCUMENTS))).reshape(2, -1).T
    return np.random.default_rng(0).permutation(rows)


def joined(model: CrossEncoder, feed: PairFeed, pairs: np.ndarray) -> Any:
    queries, documents = feed.feed.tokenise(QUERIES), feed.feed.tokenise(DOCUMENTS)
    return model.score_tokens(feed.join(queries, documents, pairs), feed=feed)()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("max_length", [None, 9])
def test_joined_pairs_have_the_scores_of_sentence_transformers(
    cross_encoder: Path, tmp_path: Path, kind: str, max_length: int | None
):
    folder = cross_encoder if kind == "bert" else roberta(tmp_path)
    model = CrossEncoder(find_weights(str(folder)), device="cpu", max_length=max_length)
    feed = model.feed([("ba be", "bi bo"), (" ".join(WORDS), "ba")])
    assert feed is not None
    assert len(feed.between) == {"bert": 1, "roberta": 2}[kind]
    pairs = all_pairs()
    wanted = model.score([(QUERIES[one], DOCUMENTS[other]) for one, other in pairs.tolist()])
    assert len(set(np.round(wanted, 4))) > 50
    assert np.allclose(joined(model, feed, pairs), wanted, atol=2e-6)


def swapped(model: Any) -> None:
    """Let the tokenizer put the document first."""
    from tokenizers.processors import TemplateProcessing

    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $B [SEP] $A", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )


def with_prompt(model: Any) -> None:
    """Let the model put a prompt before its queries."""
    model.prompts = {"ask": "ba "}
    model.default_prompt_name = "ask"


def cuts_left(model: Any) -> None:
    """Let the tokenizer cut the beginning."""
    model.tokenizer.truncation_side = "left"


@pytest.mark.parametrize("change", [swapped, with_prompt, cuts_left])
def test_a_model_that_joins_otherwise_reads_its_texts_itself(
    cross_encoder: Path, change: Callable[[Any], None]
):
    model = CrossEncoder(find_weights(str(cross_encoder)), device="cpu")
    assert model.feed([("ba", "be")]) is not None
    change(model.model)
    assert model.feed([("ba", "be")]) is None
