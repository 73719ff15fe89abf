"""One suite with a candidate of every kind goes through every verb and page."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import harness
from conftest import sentences, write_beir, write_suite
from model_server import KEY, serving
from test_app import PAGES, Open, opened

from harness.suite.kinds import KINDS
from harness.suite.load import load_suite

__all__ = ["opened"]  # a fixture

VERBS = (["plan"], ["run"], ["diagnose"], ["decide"], ["baseline", "save"], ["gate"], ["report"])
TEXTS = sentences(80, seed=12, words=8)
CODE = """
import zlib
import numpy as np


class Encoder:
    def encode(self, texts):
        words = [[zlib.crc32(word.encode()) % 32 for word in text.split()] for text in texts]
        return np.stack([np.bincount(row, minlength=32) for row in words]).astype("float32")


def search():
    return lambda query, k: (["d00", "d01"], [2.0, 1.0])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with 80 documents; 20 queries to test, 20 to tune on, 40 to train on."""
    write_beir(
        tmp_path / "beir",
        documents={f"d{row:02}": text for row, text in enumerate(TEXTS)},
        queries={f"q{row:02}": " ".join(text.split()[:3]) for row, text in enumerate(TEXTS)},
        qrels={
            split: [(f"q{row:02}", f"d{row:02}", 1) for row in rows]
            for split, rows in (
                ("test", range(20)),
                ("dev", range(20, 40)),
                ("train", range(40, 80)),
            )
        },
    )
    (tmp_path / "own.py").write_text(CODE)
    (tmp_path / "production.trec").write_text(
        "".join(f"q{row:02} Q0 d{row:02} 1 1.0 x\n" for row in range(20))
    )
    return tmp_path


def test_every_kind_goes_through_every_verb_and_page(
    folder: Path,
    static_model: Path,
    bert_model: Path,
    cross_encoder: Path,
    sparse_model: Path,
    multi_vector_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Open,
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    recipe = 'data = "small:train", batch_size = 8, epochs = 1, leaks = "allow"'
    with serving() as server:
        suite = write_suite(
            folder / "suite.toml",
            f"""
            baseline = "words"
            collections.small.source = "beir:beir"
            [candidates]
            words = {{ kind = "bm25" }}
            bert = {{ model = "{bert_model}" }}
            static = {{ model = "{static_model}" }}
            sparse = {{ sparse = "{sparse_model}" }}
            late = {{ multi_vector = "{multi_vector_model}" }}
            random = {{ model = "mteb:mteb/baseline-random-encoder" }}
            production = {{ run = "production.trec" }}
            short = {{ from = "bert", truncate = 8 }}
            codes = {{ from = "short", quantize = "int8" }}
            graph = {{ from = "bert", index = {{ type = "hnsw" }} }}
            cheap = {{ from = "bert", query_model = "static" }}
            tuned = {{ from = "static", finetune = {{ {recipe} }} }}
            halfway = {{ from = "tuned", interpolate = 0.5 }}
            reranked = {{ from = "words", rerank = {{ model = "{cross_encoder}", depth = 10 }} }}
            cascade = {{ from = "words", rerank = {{ candidate = "late", depth = 10 }} }}
            hybrid = {{ fuse = ["words", "bert"], method = "wsum", dev = "small:dev" }}
            mixed = {{ fuse = ["sparse", "production"] }}
            own = {{ factory = "own.py:Encoder", version = "1" }}
            asked = {{ retriever = {{ factory = "own.py:search", version = "1" }} }}
            [candidates.again]
            from = "words"
            rerank = {{ model = "mteb:mteb/baseline-random-cross-encoder", depth = 10 }}
            [candidates.api]
            model = "openai:any"
            base_url = "{server.url}/v1"
            key_variable = "THE_KEY"
            [gates.quality]
            rule = "no_worse"
            candidate = "hybrid"
            margin = 0.2
            min_queries = 10
            """,
        )
        done = {verb[0]: harness(*verb, suite, cwd=folder) for verb in VERBS}
    for verb, each in done.items():
        assert each.returncode == 0, (verb, each.stdout, each.stderr)
        assert "Traceback" not in each.stderr
    for page in PAGES:
        opened(folder / "results" / "small", page)
    missing = set(KINDS.values()) - {type(spec) for spec in load_suite(suite).candidates.values()}
    assert {kind.__name__ for kind in missing} == {"VectorFiles"}
