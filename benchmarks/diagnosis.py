"""Time the diagnosis of 10,000 queries on 100,000 documents, beyond encoding and the run itself.

Vectors and texts are generated: topics in 384 dimensions, words by Zipf's law, and a fifth of the
queries pointed elsewhere so that there is something to explain.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.diagnosis.candidate import diagnose_candidate
from harness.diagnosis.facts import Facts
from harness.execute import execute
from harness.plan import make_plan
from harness.stage import Context, Silent
from harness.store import Store
from harness.suite_file import load_suite

DIMENSION, TOPICS, VOCABULARY, WORDS, ASKED = 384, 300, 60_000, 120, 9


def main() -> None:
    """Generate, run, diagnose, print how long it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--documents", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, n_queries=asked.queries, n_documents=asked.documents)
        plan = make_plan(
            load_suite(folder / "suite.toml"), Store(folder / "store"), device="cpu", hub="refuse"
        )
        execute(plan, progress=Silent())
        facts = Facts(plan.collections["made"])
        started, cpu = time.perf_counter(), time.process_time()
        found = diagnose_candidate(plan, Context(store=plan.store), "given", facts)
        print(
            f"{asked.queries:,} queries x {asked.documents:,} documents: "
            f"{time.perf_counter() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU"
        )
        for stage in found.stages:
            print(f"  {stage.stage}: {stage.n:,}")
        for finding in found.findings:
            print(f"  {finding.status}: {finding.reason}")


def write(folder: Path, *, n_queries: int, n_documents: int) -> None:
    """Write a collection, its vectors and a suite."""
    draw = np.random.default_rng(0)
    words = np.array([f"{number:x}q" for number in range(VOCABULARY)])
    law = 1 / np.arange(1, VOCABULARY + 1)
    picks = draw.choice(VOCABULARY, (n_documents, WORDS), p=law / law.sum())
    documents = [f"d{row:07}" for row in range(n_documents)]
    queries = [f"q{row:07}" for row in range(n_queries)]
    relevant = draw.integers(0, n_documents, n_queries)
    (folder / "qrels").mkdir()
    with (folder / "corpus.jsonl").open("w") as file:
        for key, pick in zip(documents, picks, strict=True):
            file.write(json.dumps({"_id": key, "text": " ".join(words[pick])}) + "\n")
    with (folder / "queries.jsonl").open("w") as file:
        for key, row in zip(queries, relevant, strict=True):
            text = " ".join(words[draw.choice(picks[row], ASKED)])
            file.write(json.dumps({"_id": key, "text": text}) + "\n")
    lines = [f"{key}\t{documents[row]}\t1\n" for key, row in zip(queries, relevant, strict=True)]
    (folder / "qrels" / "test.tsv").write_text("".join(["query-id\tcorpus-id\tscore\n", *lines]))
    topics = draw.standard_normal((TOPICS, DIMENSION)).astype(np.float32)
    vectors = topics[draw.integers(0, TOPICS, n_documents)]
    vectors += draw.standard_normal(vectors.shape, dtype=np.float32)
    wanted = np.where(
        draw.random(n_queries) < 0.2, draw.integers(0, n_documents, n_queries), relevant
    )
    asked = vectors[wanted] + draw.standard_normal((n_queries, DIMENSION), dtype=np.float32)
    for name, array, ids in (("d", vectors, documents), ("q", asked, queries)):
        np.save(folder / f"{name}.npy", array)
        (folder / f"{name}.ids.txt").write_text("".join(f"{key}\n" for key in ids))
    (folder / "suite.toml").write_text(
        f"""
        name = "made"
        metrics = ["ndcg@10"]
        baseline = "given"
        [collections.made]
        source = "beir:{folder}"
        [candidates.given]
        vectors = {{ documents = "{folder}/d.npy", queries = "{folder}/q.npy" }}
        """
    )


if __name__ == "__main__":
    main()
