"""Time the diagnosis of 10,000 queries on 100,000 documents, beyond encoding and the run itself.

Vectors and texts are generated: topics in 384 dimensions, each with words of its own among others
by Zipf's law. Three quarters of the queries of some topics are pointed elsewhere, and a tenth of
the others, so that there is something to find.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from harness.diagnosis.diagnose import plan_diagnosis, read_diagnosis
from harness.plan.execute import execute
from harness.plan.plan import make_plan
from harness.retrieval.encoding import Encode
from harness.stage import Context, Silent
from harness.store import Store
from harness.suite.load import load_suite

DIMENSION, TOPICS, VOCABULARY, WORDS, ASKED = 384, 300, 60_000, 120, 9
OWN, FAILING = 40, 6  # words of a topic; topics that fail


def main() -> None:
    """Generate, run, diagnose, print how long each stage took."""
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
        made = plan_diagnosis(plan)
        print(f"{asked.queries:,} queries x {asked.documents:,} documents")
        wall, cpu = 0.0, 0.0
        for stage in made.stages:
            started, worked = time.perf_counter(), time.process_time()
            stage.run(Context(store=plan.store))
            took = time.perf_counter() - started, time.process_time() - worked
            print(f"  {stage.label}: {took[0]:.0f} s, {took[1]:.0f} s of CPU")
            if not isinstance(stage, Encode):
                wall, cpu = wall + took[0], cpu + took[1]
        print(f"beyond encoding: {wall:.0f} s, {cpu:.0f} s of CPU")
        found = read_diagnosis(made).candidates[0]
        print(f"{len(found.clusters)} clusters, {len(found.findings)} findings")


def write(folder: Path, *, n_queries: int, n_documents: int) -> None:
    """Write a collection, its vectors and a suite."""
    draw = np.random.default_rng(0)
    words = np.array([f"{number:x}q" for number in range(VOCABULARY)])
    law = 1 / np.arange(1, VOCABULARY + 1)
    picks = draw.choice(VOCABULARY, (n_documents, WORDS), p=law / law.sum())
    topic = draw.integers(0, TOPICS, n_documents)
    own = draw.integers(0, VOCABULARY, (TOPICS, OWN))
    picks[:, : WORDS // 4] = own[topic[:, None], draw.integers(0, OWN, (1, WORDS // 4))]
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
    vectors = topics[topic]
    vectors += draw.standard_normal(vectors.shape, dtype=np.float32)
    chance = np.where(topic[relevant] < FAILING, 0.75, 0.1)
    fails = draw.random(n_queries) < chance
    wanted = np.where(fails, draw.integers(0, n_documents, n_queries), relevant)
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
        [diagnosis]
        neutral = "package:wordllama"
        """
    )


if __name__ == "__main__":
    main()
