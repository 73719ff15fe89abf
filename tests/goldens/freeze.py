"""Freeze what three suites find, so that a change of structure can show that it changes nothing.

    python tests/goldens/freeze.py check [NAME …]     compare with what is frozen; 1 if it differs
    python tests/goldens/freeze.py freeze [NAME …]    freeze again, where a change is meant
    … --keep FOLDER                                   leave the files there, to read a difference

For each suite `NAME.txt` holds the digest of every golden file (results, decision, diagnosis, gate
and all runs) and the key of every artifact of the store. Times are set, not measured. Trained
weights depend on the processor and on the build of torch: on another machine, freeze the commit
before a change, and check the change against that.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE.parent)]
os.environ["HF_HUB_OFFLINE"] = "1"
# The number of threads decides the last bits of what is trained.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import conftest
import numpy as np
import planted

from harness.cli import app
from harness.retrieval import latency, precision

GOLDEN_FILES = ("results.json", "decision.json", "diagnosis.json", "gate.json")
_MEASURED = {"training_minutes", "hours", "tokens_per_second"}
# Kinds of artifacts whose keys hold our code, this machine or the times of files.
_OF_CODE = {
    "diagnoses",
    "diagnosed-beside",
    "data-health",
    "comparisons",
    "audits",
    "collections",
    "languages",
    "leaks",
}
_UNFROZEN = _OF_CODE | {"rates", "files", "receipts"}


def quickstart(folder: Path) -> Path:
    """Return the suite that `make demo` runs."""
    del folder
    return ROOT / "suites" / "quickstart.toml"


def kinds(folder: Path) -> Path:
    """Write a suite with every kind of candidate, two training seeds and a general collection."""
    draw = np.random.default_rng(5)
    for name, seed in (("target", 12), ("general", 13)):
        texts = conftest.sentences(240, seed=seed, words=8)
        ids = [f"d{row:03}" for row in range(len(texts))]
        asked = {f"q{row:03}": " ".join(text.split()[:3]) for row, text in enumerate(texts)}
        judged = [(f"q{row:03}", f"d{row:03}", 1) for row in range(len(texts))]
        conftest.write_beir(
            folder / name,
            documents=dict(zip(ids, texts, strict=True)),
            queries=asked,
            qrels={"test": judged[:120], "train": judged[120:]},
        )
        conftest.write_vectors(folder / f"{name}.d.npy", draw.normal(size=(240, 16)), ids)
        conftest.write_vectors(folder / f"{name}.q.npy", draw.normal(size=(240, 16)), list(asked))
        lines = [
            f"{query} Q0 {ids[document]} {rank} {1 / rank:.6f} other\n"
            for query in asked
            for rank, document in enumerate(draw.permutation(240)[:20], start=1)
        ]
        (folder / f"{name}.trec").write_text("".join(lines), "utf-8")
    conftest.save_static(folder / "static", seed=1)
    bert = conftest.save_bert(folder / "bert", seed=2)
    conftest.save_cross_encoder(folder / "cross", seed=3)
    suite = folder / "kinds.toml"
    suite.write_text(
        f"""
        name = "kinds"
        metrics = ["ndcg@10", "recall@20", "context_recall@40t"]
        baseline = "static"
        collections.target.source = "beir:{folder}/target"
        collections.general = {{ source = "beir:{folder}/general", role = "general" }}
        [candidates]
        words = {{ kind = "bm25", language = "none" }}
        static = {{ model = "{folder}/static", matryoshka = [16, 8] }}
        bert = {{ model = "{bert}" }}
        short = {{ from = "static", truncate = 8 }}
        run = {{ run = "{folder}/{{collection}}.trec" }}
        cascade = {{ from = "words", rerank = {{ candidate = "bert", depth = 20 }} }}
        cross = {{ from = "static", rerank = {{ model = "{folder}/cross", depth = 10 }} }}
        hybrid = {{ fuse = ["words", "static"] }}
        weighted = {{ fuse = ["words", "bert"], method = "wsum", weights = [0.7, 0.3] }}
        half = {{ from = "tuned", interpolate = 0.5 }}
        tuned_short = {{ from = "tuned", truncate = 8 }}
        [candidates.given.vectors]
        documents = "{folder}/{{collection}}.d.npy"
        queries = "{folder}/{{collection}}.q.npy"
        [candidates.tuned]
        from = "static"
        [candidates.tuned.finetune]
        data = "target:train"
        seeds = 2
        epochs = 2
        batch_size = 16
        matryoshka = [16, 8]
        hard_negatives = {{ per_query = 1 }}
        leaks = "drop"
        [gates.quality]
        rule = "no_worse"
        margin = 0.05
        [gates.size]
        rule = "at_most"
        cost = "bytes_per_document"
        value = 128
        """,
        "utf-8",
    )
    return suite


def lost(folder: Path) -> Path:
    """Write a planted world in which every fifth query of given vectors is lost."""
    made = planted.world(n_queries=150, n_documents=400)
    made.lose(range(0, 150, 5))
    ids = [f"d{row:04}" for row in range(400)]
    asked = [f"q{row:04}" for row in range(150)]
    conftest.write_beir(
        folder / "beir",
        documents=dict(zip(ids, made.documents, strict=True)),
        queries=dict(zip(asked, made.queries, strict=True)),
        qrels={"test": [(asked[row], ids[row], 1) for row in range(150)]},
    )
    conftest.write_vectors(folder / "d.npy", made.document_vectors, ids)
    conftest.write_vectors(folder / "q.npy", made.query_vectors, asked)
    suite = folder / "lost.toml"
    suite.write_text(
        f"""
        name = "lost"
        metrics = ["ndcg@10", "recall@20"]
        baseline = "given"
        collections.c.source = "beir:{folder}/beir"
        candidates.given.vectors = {{ documents = "{folder}/d.npy", queries = "{folder}/q.npy" }}
        candidates.words.kind = "bm25"
        candidates.both.fuse = ["given", "words"]
        candidates.short = {{ from = "given", truncate = 32 }}
        gates.quality = {{ rule = "no_worse", margin = 0.05 }}
        """,
        "utf-8",
    )
    return suite


SUITES: dict[str, Callable[[Path], Path]] = {"quickstart": quickstart, "kinds": kinds, "lost": lost}


def found_by(write: Callable[[Path], Path], folder: Path) -> Iterator[str]:
    """Run a suite through every verb in a folder, and yield its golden lines."""
    suite = str(write(folder))
    store = ["--store", str(folder / "store"), "--device", "cpu"]
    results = ["--results", str(folder / "results")]
    baseline = ["--baseline", str(folder / "baseline.parquet")]
    for verb in (
        ["run", suite, *store, *results],
        ["decide", suite, *store, *results],
        ["diagnose", suite, *store, *results],
        ["baseline", "save", suite, *store, *baseline],
        ["gate", suite, *store, *results, *baseline],
    ):
        app(verb, standalone_mode=False)
    for name in GOLDEN_FILES:
        yield f"{_digest(_timeless(folder / 'results' / name, folder))}  {name}"
    for path in sorted((folder / "results" / "runs").rglob("*.trec")):
        yield f"{_digest(path.read_bytes())}  {path.relative_to(folder / 'results')}"
    for path in sorted((folder / "store").glob("*/*/meta.json")):
        if path.parts[-3] not in _UNFROZEN:
            yield f"{path.parent.relative_to(folder / 'store')}"


def _timeless(path: Path, folder: Path) -> bytes:
    """Return a file of JSON without what was measured and without the folder's name."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: None if k in _MEASURED else without(v) for k, v in value.items()}
        return [without(each) for each in value] if isinstance(value, list) else value

    text = json.dumps(without(json.loads(path.read_text("utf-8"))), indent=1, ensure_ascii=False)
    return text.replace(str(folder), "FOLDER").encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _set_times() -> None:
    """Let every timed query take a millisecond, on a machine of no name."""
    latency._timed = lambda _, rows, *_others, **_named: ([1.0] * len(rows), [])  # type: ignore[assignment]
    latency.device_name = lambda _: "golden"
    precision.installed = list  # torch alone, whatever is installed
    precision.has_bfloat16 = lambda: False  # type: ignore[assignment]


def main() -> int:
    """Freeze or check, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["check", "freeze"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SUITES)}")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    _set_times()
    differ = []
    for name in asked.names or SUITES:
        with tempfile.TemporaryDirectory() as made:
            folder = (asked.keep / name if asked.keep else Path(made)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            lines = [f"{line}\n" for line in found_by(SUITES[name], folder)]
        golden = HERE / f"{name}.txt"
        if asked.what == "freeze":
            golden.write_text("".join(lines), "utf-8")
            continue
        old = golden.read_text("utf-8").splitlines(keepends=True)
        if lines != old:
            differ.append(name)
            sys.stdout.writelines(difflib.unified_diff(old, lines, "frozen", "now", n=0))
    if asked.what == "check":
        print(f"{', '.join(differ) or 'nothing'} differs")
    return bool(differ)


if __name__ == "__main__":
    sys.exit(main())
