"""One suite with a candidate of every kind goes through every verb and page."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from command_line import harness
from conftest import sentences, write_beir, write_suite
from model_server import KEY, serving
from test_app import PAGES, Open, opened
from test_retrievers import COMMAND, asked

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


class Overlap:
    def predict(self, pairs):
        return [len(set(query.split()) & set(document.split())) for query, document in pairs]


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
    (tmp_path / "command.py").write_text(COMMAND)
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
            own_short = {{ from = "own", truncate = 16 }}
            own_codes = {{ from = "own", quantize = "int8" }}
            own_hybrid = {{ fuse = ["words", "own"] }}
            searched = {{ retriever = {{ factory = "own.py:search", version = "1" }} }}
            asked = {{ retriever = {{ command = "'{sys.executable}' command.py" }} }}
            asked_hybrid = {{ fuse = ["words", "asked"] }}
            api_short = {{ from = "api", truncate = 256 }}
            api_codes = {{ from = "api", quantize = "int8" }}
            api_hybrid = {{ fuse = ["api_reranked", "words"] }}
            [candidates.overlap]
            from = "random"
            rerank = {{ factory = "own.py:Overlap", version = "1", depth = 10 }}
            [candidates.again]
            from = "words"
            rerank = {{ model = "mteb:mteb/baseline-random-cross-encoder", depth = 10 }}
            [candidates.api]
            model = "openai:text-embedding-3-small"
            base_url = "{server.url}/v1"
            key_variable = "THE_KEY"
            [candidates.api_reranked]
            from = "api"
            rerank.model = "cohere:rerank-v3.5"
            rerank.base_url = "{server.url}/v2"
            rerank.key_variable = "THE_KEY"
            rerank.depth = 10
            [gates]
            quality = {{ rule = "no_worse", candidate = "hybrid", margin = 0.2, min_queries = 10 }}
            bought = {{ rule = "no_worse", candidate = "api", margin = 0.2, min_queries = 10 }}
            fine = {{ rule = "at_least", candidate = "own", value = 0.1, min_queries = 10 }}
            here = {{ rule = "at_least", candidate = "asked", value = 0.1, min_queries = 10 }}
            [prices]
            device_hour = 1.0
            gb_month = 0.1
            documents = 1000
            queries_per_month = 1000
            """,
        )
        done = {verb[0]: harness(*verb, suite, cwd=folder) for verb in VERBS}
        requests = len(server.requests)
        offline = harness("run", suite, "--offline", cwd=folder)
        assert len(server.requests) == requests
    for verb, each in {**done, "offline": offline}.items():
        assert each.returncode == 0, (verb, each.stdout, each.stderr)
        assert "Traceback" not in each.stderr
        assert KEY not in each.stdout + each.stderr
    assert "Price of cohere:rerank-v3.5: 2 USD for 1,000 searches" in done["plan"].stdout
    assert "Latency includes the network" in done["run"].stdout
    bills = " ".join(done["decide"].stdout.split())
    assert re.search(r"Provider cost of [^:]*'api'[,:]", bills)
    assert "USD for a million queries and" in bills
    assert Counter(asked(folder)) == Counter({" ".join(text.split()[:3]) for text in TEXTS[:20]})
    results = folder / "results" / "small"
    costs = {
        row["candidate"]: row for row in json.loads((results / "costs.json").read_text())["costs"]
    }
    assert costs["own"]["parameters"] is None
    assert "to embed the corpus again" in (results / "report.html").read_text("utf-8")
    for page in PAGES:
        opened(results, page)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    missing = set(KINDS.values()) - {type(spec) for spec in load_suite(suite).candidates.values()}
    assert {kind.__name__ for kind in missing} == {"VectorFiles"}
