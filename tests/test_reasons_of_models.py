"""Reasons that need the candidate's own model: proven by encoding a few texts again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import DIMENSION, MAX_TOKENS, SPECIAL, WORDS, _tokenizer
from planted import World, explain, findings, ids_of, run_world, told

from harness.models.tokens import unread_from
from harness.models.weights import find_weights

N = 40
LOST = list(range(0, N, 2))
NAMES, ASKED, FILLER = WORDS[:24], WORDS[24:48], WORDS[48:71]
PROMPT_WORD = WORDS[71]


def texts_world(documents: list[str], queries: list[str]) -> World:
    return World(
        documents=documents,
        queries=queries,
        document_vectors=np.empty(0),
        query_vectors=np.empty(0),
        relevant=[[row] for row in range(len(queries))],
    )


def save_model(folder: Path, vectors: np.ndarray, *, prompts: dict[str, str] | None = None) -> Path:
    """Save static embeddings with chosen vectors of `SPECIAL` and `WORDS`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    module = StaticEmbedding(_tokenizer(), embedding_weights=vectors.astype(np.float32))
    model = SentenceTransformer(modules=[module], device="cpu", prompts=prompts)
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def model_with_offset(folder: Path, *, of_prompt: int, prompted: str) -> Path:
    """Save a model in which query words lie off the names that they stand for.

    The prompt takes the offset off the queries (-1), or puts it on the documents (1). As with real
    models trained with prompts, the texts alone are misplaced.
    """
    draw = np.random.default_rng(5)
    vectors = draw.normal(size=(len(SPECIAL) + len(WORDS), DIMENSION))
    vectors[: len(SPECIAL)] = 0
    place = {word: row for row, word in enumerate(SPECIAL + WORDS)}
    offset = draw.normal(size=DIMENSION) * 4
    for name, asked in zip(NAMES, ASKED, strict=True):
        vectors[place[asked]] = vectors[place[name]] + offset
    vectors[place[PROMPT_WORD]] = of_prompt * offset
    prompts = {"query": "", "document": "", prompted: f"{PROMPT_WORD} " * 3}
    return save_model(folder, vectors, prompts=prompts)


@pytest.fixture
def asked_in_other_words() -> World:
    """Return queries of three words, each standing for a name that its document holds."""
    draw = np.random.default_rng(6)
    picks = [draw.choice(len(NAMES), 3, replace=False) for _ in range(120)]
    documents = [" ".join(NAMES[row] for row in pick) for pick in picks]
    queries = [" ".join(ASKED[row] for row in pick) for pick in picks[:N]]
    return texts_world(documents, queries)


def test_a_forgotten_prompt_is_found(tmp_path: Path, asked_in_other_words: World):
    model = model_with_offset(tmp_path / "model", of_prompt=-1, prompted="query")
    plan = run_world(
        asked_in_other_words,
        tmp_path,
        f"""
        [candidates.forgotten]
        model = "{model}"
        prompts = {{ query = "", document = "" }}
        [candidates.right]
        model = "{model}"
        """,
        vectors=False,
    )
    finding = findings(explain(plan, "forgotten"))["prompt"]
    assert finding.status == "confirmed"
    assert finding.lever == "fix the pipeline"
    assert finding.recoverable is not None
    assert finding.recoverable > 0.3
    assert "as the model declares" in finding.sentence
    assert finding.queries
    assert "prompt" not in told(explain(plan, "right"))


def test_a_forgotten_prompt_is_found_though_no_query_crosses_k(
    tmp_path: Path, asked_in_other_words: World
):
    model = model_with_offset(tmp_path / "model", of_prompt=-1, prompted="query")
    candidate = f'[candidates.forgotten]\nmodel = "{model}"\nprompts = {{ query = "" }}\n'
    plan = run_world(asked_in_other_words, tmp_path, candidate, vectors=False)
    finding = findings(explain(plan, "forgotten", k=110))["prompt"]
    assert finding.misses_with == 0
    assert finding.status == "confirmed"


def test_a_prompt_that_the_documents_need_is_found_in_a_pool(
    tmp_path: Path, asked_in_other_words: World
):
    model = model_with_offset(tmp_path / "model", of_prompt=1, prompted="document")
    plan = run_world(
        asked_in_other_words,
        tmp_path,
        f"""
        [candidates.forgotten]
        model = "{model}"
        prompts = {{ query = "", document = "" }}
        """,
        vectors=False,
    )
    finding = findings(explain(plan, "forgotten"))["prompt"]
    assert finding.status == "confirmed"
    assert finding.counterfactual is not None
    assert finding.counterfactual.tried == N
    assert "as the model declares" in finding.sentence


def test_a_model_that_needs_no_prompt_is_not_blamed(
    tmp_path: Path, bert_model: Path, asked_in_other_words: World
):
    plan = run_world(
        asked_in_other_words,
        tmp_path,
        f'[candidates.plain]\nmodel = "{bert_model}"\nprompts = {{ query = "", document = "" }}\n',
        vectors=False,
    )
    assert "prompt" not in told(explain(plan, "plain"))


def test_unread_from_is_where_the_models_tokens_end(bert_model: Path):
    weights = find_weights(str(bert_model))
    text = " ".join(WORDS[:40])
    short = " ".join(WORDS[:3])
    ends = unread_from(weights, [text, short], prompt="", max_length=None)
    read = text[: ends[0]].split()
    assert read == WORDS[: MAX_TOKENS - 2]  # two special tokens
    assert ends[1] == len(short)
    [prompted] = unread_from(weights, [text], prompt="ba be ", max_length=10)
    assert text[:prompted].split() == WORDS[:6]


def test_truncation_is_found_and_confirmed(tmp_path: Path, bert_model: Path):
    draw = np.random.default_rng(9)
    queries = [" ".join(draw.choice(NAMES + ASKED, 12, replace=False)) for _ in range(N)]
    documents = []
    for row, query in enumerate(queries):
        filler = " ".join(draw.choice(FILLER, 34))
        documents.append(f"{filler} {query}" if row in LOST else f"{query} {filler}")
    documents += [" ".join(draw.choice(FILLER, 46)) for _ in range(80)]
    plan = run_world(
        texts_world(documents, queries),
        tmp_path,
        f'[candidates.bert]\nmodel = "{bert_model}"\n[candidates."bert/8"]\nfrom = "bert"\n'
        "truncate = 8\n",
        vectors=False,
    )
    for candidate in ("bert", "bert/8"):
        finding = findings(explain(plan, candidate))["truncation"]
        assert finding.status == "confirmed"
        assert finding.lever == "chunking"
        assert set(finding.queries) <= set(ids_of(LOST))
        assert finding.recoverable is not None
        assert finding.recoverable > 0
        assert "The model reads" in next(iter(finding.evidence.values()))


def test_words_that_the_tokenizer_does_not_know(tmp_path: Path, static_model: Path):
    draw = np.random.default_rng(10)
    documents = [" ".join(draw.choice(WORDS, 8)) for _ in range(120)]
    queries = [" ".join(text.split()[:4]) for text in documents[:N]]
    for row in LOST:
        queries[row] = f"unheard{row} ofword"
        documents[row] += f" unheard{row} ofword"
    plan = run_world(
        texts_world(documents, queries),
        tmp_path,
        f'[candidates.static]\nmodel = "{static_model}"\n',
        vectors=False,
    )
    finding = findings(explain(plan, "static"))["fragmentation"]
    assert finding.status == "supported"
    assert set(finding.queries) <= set(ids_of(LOST))
    assert "into [UNK]" in next(iter(finding.evidence.values()))
