"""A whole suite against `mteb.evaluate` in a loop, and how long a command takes to start."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encoding import MINILM, STATIC
from ratio import DifferentError, Limit, Row, Took, in_child, race, shared, timed

ROOT = Path(__file__).parents[1]
COLLECTIONS = {"nq_utd": "nq_utd", "pubmedqa": "pubmedqa", "xquad": "xquad/en"}
QUERIES, DOCUMENTS = 12, 100
WIDTHS = {"wordllama": (256, 128, 64, 32, 16), "potion": (256, 128, 64, 32, 16)}
WIDTHS["minilm"] = (384, 256, 128, 64, 32)
RERANKED, TOKENS = 10, 128


def references() -> dict[str, str]:
    """Return the three models and the cross-encoder.

    Raises:
        SkippedError: ../shared is not there.
    """
    return {
        "wordllama": STATIC,
        "potion": str(shared("models", "potion-base-8M")),
        "minilm": MINILM,
        "reranker": str(shared("models", "bert-mini-reranker")),
    }


def whole() -> Iterator[Row]:
    """C12 and C13: all candidates on all collections, from nothing and again."""
    references()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each, source in COLLECTIONS.items():
            cut(shared("data", *source.split("/")), folder / each)
        (folder / "suite.toml").write_text(suite_text(folder), "utf-8")
        cold, peer = _run(folder), in_child(mteb_loop, folder, environment=os.environ)
        again = [_run(folder) for _ in range(3)]
    for found in (cold, *again):
        differing = [key for key in peer.found if abs(found.found[key] - peer.found[key]) > 1e-4]
        if differing:
            raise DifferentError(
                f"{len(differing)} of {len(peer.found)} scores differ, such as {differing[0]}: "
                f"{found.found[differing[0]]} and {peer.found[differing[0]]}"
            )
    workload = (
        f"harness run: 3 models x 5 widths, each also reranked at {RERANKED}, x 3 collections of "
        f"about {DOCUMENTS} documents and {QUERIES} queries: {len(peer.found)} scores, from the "
        "start of the command"
    )
    name = "mteb.evaluate in a loop, its own reranking, one run"
    yield Row(
        workload,
        name,
        [cold.seconds],
        [peer.seconds / cold.seconds],
        [peer.cpu / cold.cpu],
        target=10.0,
    )
    yield Row(
        "the same, again (C13)",
        f"{name}, without its cache of results",
        [each.seconds for each in again],
        [peer.seconds / each.seconds for each in again],
        [peer.cpu / each.cpu for each in again],
        target=400.0,
    )


def _run(folder: Path) -> Took:
    """Run the suite from the command line and return ndcg@10 of every candidate and collection."""
    where = ["--store", str(folder / "store"), "--results", str(folder / "results")]
    options = ["--offline", "--device", "cpu", "--json"]
    took = _command(["-m", "harness", "run", str(folder / "suite.toml"), *where, *options])
    scores = json.loads(took.found)["scores"]
    return took._replace(
        found={
            f"{each['candidate']} {each['collection']}": each["mean"]
            for each in scores
            if each["metric"] == "ndcg@10"
        }
    )


def _command(arguments: list[str]) -> Took:
    """Run Python with these arguments and return what it printed, by the clock from its start."""
    before = os.times()
    took = timed(
        lambda: (
            subprocess.run(  # noqa: S603 our own command
                [sys.executable, *arguments], check=True, text=True, capture_output=True
            ).stdout
        )
    )
    after = os.times()
    cpu = after.children_user + after.children_system
    return took._replace(cpu=cpu - before.children_user - before.children_system)


def cut(source: Path, target: Path) -> None:
    """Write the first queries of a BEIR folder, their judged documents, and more up to a number."""
    judged = [
        line.split("\t") for line in (source / "qrels" / "test.tsv").read_text("utf-8").splitlines()
    ]
    names = list(dict.fromkeys(query for query, _, _ in judged[1:]))[:QUERIES]
    kept = [row for row in judged[1:] if row[0] in names]
    needed = {document for _, document, _ in kept}
    documents = []
    for line in (source / "corpus.jsonl").read_text("utf-8").splitlines():
        name = json.loads(line)["_id"]
        if name in needed or len(documents) < DOCUMENTS - len(needed):
            documents.append(line)
    queries = [
        line
        for line in (source / "queries.jsonl").read_text("utf-8").splitlines()
        if json.loads(line)["_id"] in names
    ]
    (target / "qrels").mkdir(parents=True)
    (target / "corpus.jsonl").write_text("\n".join(documents) + "\n", "utf-8")
    (target / "queries.jsonl").write_text("\n".join(queries) + "\n", "utf-8")
    rows = ["\t".join(row) for row in [judged[0], *kept]]
    (target / "qrels" / "test.tsv").write_text("\n".join(rows) + "\n", "utf-8")


def suite_text(folder: Path) -> str:
    """Return the suite file."""
    models = references()
    parts = ['name = "bench"\nmetrics = ["ndcg@10"]\nbaseline = "wordllama/256"\n']
    parts += [
        f'[collections.{name}]\nsource = "beir:{folder / name}"\nsplit = "test"\n'
        for name in COLLECTIONS
    ]
    for model, widths in WIDTHS.items():
        limit = f"max_length = {TOKENS}\n" if model == "minilm" else ""
        for width in widths:
            name = f"{model}/{width}"
            how = (
                f'model = "{models[model]}"\n{limit}'
                if width == widths[0]
                else f'from = "{model}/{widths[0]}"\ntruncate = {width}\n'
            )
            parts.append(f'[candidates."{name}"]\n{how}')
            parts.append(
                f'[candidates."{name}+reranker"]\nfrom = "{name}"\nrerank = {{ model = '
                f'"{models["reranker"]}", depth = {RERANKED}, max_length = {TOKENS} }}\n'
            )
    return "\n".join(parts)


def mteb_loop(folder: str) -> Took:
    """Evaluate every model at every width, and each reranked, one after the other."""
    logging.disable(logging.WARNING)  # mteb warns of every model that is not on the hub
    return timed(lambda: dict(_evaluate(Path(folder))))


def _evaluate(folder: Path) -> Iterator[tuple[str, float]]:
    import mteb
    from sentence_transformers import CrossEncoder

    from harness.models.biencoder import load_sentence_transformer
    from harness.models.weights import find_weights

    models = references()
    for model, widths in WIDTHS.items():
        for width in widths:
            encoder = load_sentence_transformer(find_weights(models[model]), device="cpu")
            encoder.truncate_dim = width
            if model == "minilm":
                encoder.max_seq_length = TOKENS
            for name in COLLECTIONS:
                predictions = folder / "predictions" / f"{model}-{width}"
                yield (
                    f"{model}/{width} {name}",
                    _score(mteb, encoder, local_task(folder / name), prediction_folder=predictions),
                )
                task = local_task(folder / name)
                task = task.convert_to_reranking(predictions, top_k=RERANKED)
                reranker = CrossEncoder(models["reranker"], device="cpu", max_length=TOKENS)
                yield f"{model}/{width}+reranker {name}", _score(mteb, reranker, task)


def _score(mteb: Any, model: Any, task: Any, **options: Any) -> float:
    found = mteb.evaluate(model, [task], cache=None, show_progress_bar=False, **options)
    return float(found.task_results[0].scores["test"][0]["ndcg_at_10"])


def local_task(folder: Path) -> Any:
    """Return a BEIR folder as a task of mteb."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval

    class Local(AbsTaskRetrieval):
        metadata = task_metadata(folder.name.title().replace("_", ""))

        def load_data(self, *_: Any, **__: Any) -> None:
            if self.data_loaded:
                return
            corpus, queries = (
                [json.loads(line) for line in (folder / name).read_text("utf-8").splitlines()]
                for name in ("corpus.jsonl", "queries.jsonl")
            )
            relevant: dict[str, dict[str, int]] = {}
            for line in (folder / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]:
                query, document, grade = line.split("\t")
                relevant.setdefault(query, {})[document] = int(grade)
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": _texts(Dataset, corpus, title=True),
                        "queries": _texts(Dataset, queries, title=False),
                        "relevant_docs": relevant,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Local()


def _texts(dataset: Any, rows: list[dict[str, str]], *, title: bool) -> Any:
    columns = {"id": [row["_id"] for row in rows], "text": [row["text"] for row in rows]}
    if title:
        columns["title"] = [row.get("title", "") for row in rows]
    return dataset.from_dict(columns)


def task_metadata(name: str) -> Any:
    """Return what mteb wants to know of a task of texts."""
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        dataset={"path": "local", "revision": "1"},
        name=name,
        description="Texts of this machine.",
        type="Retrieval",
        category="t2t",
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )


def startup() -> Iterator[Row]:
    """C14: from the start of Python to a plan."""
    with tempfile.TemporaryDirectory() as store:
        suite = str(ROOT / "suites" / "quickstart.toml")
        row = race(
            "harness plan suites/quickstart.toml, from the start of Python",
            "import mteb",
            ours=lambda: _command(["-m", "harness", "plan", suite, "--store", store]),
            peer=lambda: _command(["-c", "import mteb"]),
            same=lambda plan, _: "minilm" in plan,
        )
    limit = Limit(sorted(row.seconds)[len(row.seconds) // 2], 1.0, "s")
    yield Row(row.workload, row.peer, row.seconds, row.ratios, row.cpu_ratios, limits=(limit,))
