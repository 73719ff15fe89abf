"""What a user says of a model that its files leave open: its pooling, and that its code may run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import DIMENSION, SPECIAL, WORDS, plan_of, run_suite, write_suite

from harness.errors import HarnessError
from harness.models.biencoder import BiEncoder
from harness.models.folder import Choices, Pooling
from harness.models.weights import find_weights
from harness.store import Store

TEXTS = ["ba be bi bo bu", "ba", "be bi ba"]
PROMPT = "bo bu "


def save_decoder(folder: Path, *, side: str = "right") -> Path:
    """Save a language model of two causal layers whose tokenizer ends a text with a token."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(5)
    words = [*SPECIAL, *WORDS, "<eos>"]
    tokenizer = Tokenizer(
        WordLevel({word: row for row, word in enumerate(words)}, unk_token=SPECIAL[1])
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", len(words) - 1)]
    )
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=DIMENSION,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[0],
        eos_token="<eos>",  # noqa: S106 - no password
        padding_side=side,
    ).save_pretrained(folder)
    return folder


def states_of(folder: Path, text: str) -> npt.NDArray[np.float32]:
    """Return the last layer's states of a text alone, float32 [n_tokens, dim]: nothing padded."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        found: npt.NDArray[np.float32] = model(**inputs).last_hidden_state[0].numpy()
    return found


BY_HAND: dict[Pooling, Any] = {
    "mean": lambda states: states.mean(axis=0),
    "cls": lambda states: states[0],
    "last": lambda states: states[-1],
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_decoder_is_pooled_as_chosen_whichever_side_is_padded(
    tmp_path: Path, pooling: Pooling, side: str
):
    folder = save_decoder(tmp_path / "decoder", side=side)
    weights = find_weights(str(folder), chosen=Choices(pooling))
    model = BiEncoder(weights, device="cpu")
    wanted = [BY_HAND[pooling](states_of(folder, PROMPT + text)) for text in TEXTS]
    np.testing.assert_allclose(
        model.encode(TEXTS, role="query", prompt=PROMPT), np.stack(wanted), atol=1e-5
    )
    feed = model.feed(role="query", prompt=PROMPT)
    assert feed is not None
    fed = model.encode_tokens(
        feed.tokenise(TEXTS), feed=feed, role="query", advance=lambda _: None
    )()
    np.testing.assert_allclose(fed, np.stack(wanted), atol=1e-5)


def test_the_last_token_of_a_decoder_is_its_end_of_text(tmp_path: Path):
    folder = save_decoder(tmp_path / "decoder")
    model = BiEncoder(find_weights(str(folder), chosen=Choices("last")), device="cpu")
    feed = model.feed(role="query", prompt="")
    assert feed is not None
    assert set(feed.tokenise(TEXTS).ids[feed.tokenise(TEXTS).ends - 1]) == {
        len(SPECIAL) + len(WORDS)
    }


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_decoder_may_leave_its_prompt_out_of_the_mean(tmp_path: Path, side: str):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as Module
    from sentence_transformers.sentence_transformer.modules import Transformer

    folder = save_decoder(tmp_path / "decoder", side=side)
    modules = [Transformer(str(folder)), Module(DIMENSION, "mean", include_prompt=False)]
    SentenceTransformer(modules=modules, device="cpu", prompts={"query": PROMPT}).save_pretrained(
        str(tmp_path / "model"), create_model_card=False
    )
    model = BiEncoder(find_weights(str(tmp_path / "model")), device="cpu")
    # The two words of the prompt are read, and left out of the mean.
    wanted = [states_of(folder, PROMPT + text)[2:].mean(axis=0) for text in TEXTS]
    np.testing.assert_allclose(
        model.encode(TEXTS, role="query", prompt=PROMPT), np.stack(wanted), atol=1e-5
    )


def test_a_language_model_needs_a_pooling_and_a_model_that_has_one_needs_none(
    tmp_path: Path, bert_model: Path
):
    folder = save_decoder(tmp_path / "decoder")
    with pytest.raises(HarnessError, match='set pooling = "mean", "cls" or "last"') as refused:
        find_weights(str(folder))
    assert refused.value.exit_code == 2
    with pytest.raises(HarnessError, match="say how it pools"):
        find_weights(str(bert_model), chosen=Choices("mean"))


def test_each_pooling_is_a_model_of_its_own(bert_model: Path):
    plain = str(bert_model.parent / "plain")
    keys = {find_weights(plain, chosen=Choices(each)).key for each in (None, "mean", "cls", "last")}
    assert len(keys) == 4


CODE = """
import torch


class Doubled(torch.nn.Module):
    def forward(self, features):
        features["sentence_embedding"] = features["sentence_embedding"] * 2
        return features

    def save(self, *args, **kwargs):
        pass

    @classmethod
    def load(cls, *args, **kwargs):
        return cls()
"""


@pytest.fixture
def with_code(tmp_path: Path, bert_model: Path) -> Path:
    """Return a bi-encoder with a module of its own, which doubles the vectors."""
    folder = Path(shutil.copytree(bert_model, tmp_path / "coded"))
    (folder / "doubled.py").write_text(CODE)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "", "type": "doubled.Doubled"})
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def test_code_runs_where_it_is_trusted_and_the_plan_says_so(
    tmp_path: Path, beir: Path, bert_model: Path, with_code: Path, store: Store
):
    tables = (
        f'baseline = "plain"\ncollections.small.source = "beir:{beir}"\n'
        f'[candidates.plain]\nmodel = "{bert_model}"\n'
        f'[candidates.coded]\nmodel = "{with_code}"\n'
    )
    with pytest.raises(HarnessError, match="Read it, and set trust_remote_code = true to run it"):
        plan_of(write_suite(tmp_path / "suite.toml", tables), store)
    trusting = write_suite(tmp_path / "suite.toml", f"{tables}trust_remote_code = true\n")
    plan = run_suite(trusting, store)
    assert any(
        "its own code is run, with your permissions on this machine (doubled.py)" in each
        for each in plan.planner.warnings
    )
    plain, coded = (
        np.concatenate(
            [
                shard.array("vectors")
                for shard in plan.planner.encodes(name, "small")[0].timings(store)
            ]
        )
        for name in ("plain", "coded")
    )
    np.testing.assert_allclose(coded, 2 * plain, rtol=1e-5)
    tuned = f'{tables}trust_remote_code = true\n[candidates.tuned]\nfrom = "coded"\n'
    tuned += 'finetune = { data = ["small:train"] }\n'
    with pytest.raises(HarnessError, match="runs code of its own"):
        plan_of(write_suite(tmp_path / "suite.toml", tuned), store)
