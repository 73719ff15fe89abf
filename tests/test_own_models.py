"""Models of one's own: real classes in files, and models that mteb loads."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import plan_of as planned
from conftest import run_suite, sentences, write_beir, write_suite

from harness.errors import ExitCode, HarnessError
from harness.models.in_mteb import predict
from harness.plan.execute import StagesFailedError
from harness.plan.plan import make_plan
from harness.store import Store
from harness.suite.load import load_suite

TEXTS = sentences(60, seed=12, words=8)

RERANKED = '[candidates.own]\nfrom = "words"\nrerank = '
RANDOM = '[candidates.own]\nmodel = "mteb:mteb/baseline-random-encoder"\n'
# Vectors of hashed words; every call is counted in a file, so that what is asked twice is seen.
ENCODER = """
import hashlib
import pathlib

import numpy as np

ASKED = pathlib.Path(__file__).with_name("asked.txt")


def row(text, width):
    vector = np.zeros(width)
    for word in text.split():
        vector[int(hashlib.md5(word.encode()).hexdigest(), 16) % width] += 1
    return vector


class Hashed:
    def __init__(self, width=32):
        self.width = width

    def encode(self, texts):
        with ASKED.open("a") as file:
            file.writelines(f"{text}\\n" for text in texts)
        return np.stack([row(text, self.width) for text in texts])


class Sided(Hashed):
    def encode_query(self, texts):
        return [row(text, self.width).tolist() for text in texts]

    def encode_document(self, texts):
        import torch

        return torch.tensor(np.stack([row(text, self.width) for text in texts])).bfloat16()


class OfMteb:
    mteb_model_meta = None

    def encode(self, inputs, *, task_metadata, hf_split, hf_subset, prompt_type=None, **more):
        assert task_metadata.type == "Retrieval" and prompt_type.value in ("query", "document")
        texts = [text for batch in inputs for text in batch["text"]]
        return np.stack([row(text, 32) for text in texts])


class Overlap:
    def predict(self, pairs):
        return [len(set(query.split()) & set(document.split())) for query, document in pairs]


class OverlapOfMteb:
    def predict(self, inputs1, inputs2, *, task_metadata, hf_split, hf_subset, **more):
        sides = [[t for batch in side for t in batch["text"]] for side in (inputs1, inputs2)]
        return np.array([len(set(q.split()) & set(d.split())) for q, d in zip(*sides)])


class Broken:
    def __init__(self, how):
        self.how = how

    def encode(self, texts):
        good = np.stack([row(text, 8) for text in texts])
        if self.how == "raises":
            raise ValueError("no such tokenizer")
        if self.how == "exits":
            raise SystemExit(3)
        return {
            "few": good[1:],
            "flat": good[:, 0],
            "nan": np.where(np.arange(len(good))[:, None] == 1, np.nan, good),
            "words": [["a"]] * len(texts),
            "ragged": [[1.0] * (1 + n % 2) for n in range(len(texts))],
            "none": None,
            "width": good[:, : 4 if len(texts) == 20 else 8],
        }[self.how]

    def predict(self, pairs):
        return {"few": [1.0], "nan": [float("nan")] * len(pairs)}[self.how]


def nothing():
    return object()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a collection and the file of classes."""
    write_collection(tmp_path, TEXTS)
    (tmp_path / "own.py").write_text(ENCODER, "utf-8")
    return tmp_path


def write_collection(folder: Path, texts: list[str]) -> None:
    write_beir(
        folder / "beir",
        documents={f"d{row:02}": text for row, text in enumerate(texts)},
        queries={f"q{row:02}": " ".join(TEXTS[row].split()[:3]) for row in range(20)},
        qrels={"test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(20)]},
    )


def suite_of(folder: Path, body: str) -> Path:
    head = 'baseline = "words"\ncollections.small.source = "beir:beir"\n'
    return write_suite(folder / "suite.toml", f'{head}[candidates.words]\nkind = "bm25"\n{body}')


def own(name: str, *, version: str = "1", **arguments: object) -> str:
    said = ", ".join(f"{key} = {json.dumps(value)}" for key, value in arguments.items())
    return (
        f'[candidates.own]\nfactory = "own.py:{name}"\nversion = "{version}"\n'
        f"arguments = {{ {said} }}\n"
    )


def vectors_of(folder: Path, body: str, store: Store, side: int) -> np.ndarray:
    plan = run_suite(suite_of(folder, body), store)
    read = plan.planner.encodes("own", "small")[side].embeddings(store, normalised=False)
    return read.block(0, len(read))


def asked(folder: Path) -> list[str]:
    file = folder / "asked.txt"
    return file.read_text("utf-8").splitlines() if file.exists() else []


def failure(folder: Path, body: str, store: Store) -> str:
    with pytest.raises((StagesFailedError, HarnessError)) as caught:
        run_suite(suite_of(folder, body), store)
    assert caught.value.exit_code == ExitCode.STAGE
    return str(caught.value)


def usage(folder: Path, body: str) -> str:
    with pytest.raises(HarnessError) as caught:
        planned(suite_of(folder, body), Store(folder / "plans"))
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


@pytest.mark.parametrize("name", ["Hashed", "Sided", "OfMteb"])
def test_vectors_are_those_of_the_class_whichever_protocol_it_follows(
    name: str, folder: Path, store: Store
):
    found = [vectors_of(folder, own(name), store, side) for side in (0, 1)]
    row = runpy.run_path(str(folder / "own.py"))["row"]
    queries = [" ".join(text.split()[:3]) for text in TEXTS[:20]]
    for side, texts in zip(found, (TEXTS, queries), strict=True):
        assert np.array_equal(side, np.stack([row(text, 32) for text in texts]))


def test_no_code_runs_at_plan_and_no_text_is_asked_twice(folder: Path, store: Store):
    path = suite_of(folder, own("Hashed"))
    planned(path, store)
    assert asked(folder) == []
    run_suite(path, store)
    first = asked(folder)
    assert set(TEXTS) <= set(first)
    run_suite(path, store)
    assert asked(folder) == first
    (folder / "asked.txt").unlink()
    shutil.rmtree(folder / "beir")
    write_collection(folder, [*TEXTS[:-1], "quite another text"])
    run_suite(path, store)
    assert [text for text in asked(folder) if text in {*TEXTS, "quite another text"}] == [
        "quite another text"
    ]


def test_another_version_or_argument_is_another_model(folder: Path, store: Store):
    def key(body: str) -> str | None:
        plan = planned(suite_of(folder, body), store)
        return plan.planner.run_stage("own", "small").key(store)

    usual = key(own("Hashed"))
    others = {key(own("Hashed", version="2")), key(own("Hashed", width=16)), key(own("Sided"))}
    assert usual is not None
    assert len(others - {usual}) == 3
    (folder / "own.py").write_text(ENCODER + "\n# another line\n", "utf-8")
    assert key(own("Hashed")) == usual


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raises", "ValueError: no such tokenizer"),
        ("exits", "SystemExit: exit 3"),
        ("few", "shape (59, 8) for 60 texts. Return one row per text"),
        ("flat", "shape (60,) for 60 texts"),
        ("nan", "NaN or infinite numbers for 1 of 60 texts, the first in row 1"),
        ("words", "returns no numbers"),
        ("ragged", "inhomogeneous"),
        ("none", "returns no numbers"),
        ("width", "vectors of 4 dimensions, but returned 8 before"),
    ],
)
def test_what_a_class_does_wrong_is_one_sentence(how: str, told: str, folder: Path, store: Store):
    message = failure(folder, own("Broken", how=how), store)
    assert told in message
    assert "own.py:Broken" in message
    if how in {"raises", "exits"}:
        line = 1 + ENCODER.split("\n").index(
            '            raise ValueError("no such tokenizer")'
            if how == "raises"
            else "            raise SystemExit(3)"
        )
        assert f"{folder / 'own.py'}:{line}, got" in message


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nothing", "returns no encoder, got an object of the class 'object'"),
        ("Overlap", "It is a cross-encoder: write rerank = { factory = …, version = … }"),
        ("Absent", "has no attribute 'Absent'"),
    ],
)
def test_what_is_no_encoder_is_told_where_it_belongs(
    name: str, told: str, folder: Path, store: Store
):
    assert told in failure(folder, own(name), store)


def test_broken_python_is_told_with_its_line(folder: Path, store: Store):
    (folder / "own.py").write_text("import os\n\ndef broken(:\n", "utf-8")
    message = failure(folder, own("Hashed"), store)
    assert f"{folder / 'own.py'}:3, got SyntaxError" in message


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('[candidates.own]\nfactory = "own.py:Hashed"\n', "'version' is missing"),
        ('[candidates.own]\nfactory = "own.py"\nversion = "1"\n', '"module:function"'),
        ('[candidates.own]\nfactory = "gone.py:F"\nversion = "1"\n', "no file"),
        ('[candidates.own]\nfactory = "no_such_one:F"\nversion = "1"\n', "no module 'no_such_one'"),
        (own("Hashed") + 'revision = "2"\n', "with arguments"),
        (
            own("Hashed")
            + '[candidates.more]\nfrom = "own"\nfinetune = { data = "small:train" }\n',
            "your own code",
        ),
        ('[candidates.own]\nmodel = "mteb:mteb/baseline-rando-encoder"\n', "Did you mean"),
        ('[candidates.own]\nmodel = "mteb:mteb/baseline-random-cross-encoder"\n', "no vectors"),
        ('[candidates.own]\nmodel = "mteb:"\n', "names no model"),
        (f'{RERANKED}{{ model = "mteb:" }}\n', "names no model"),
        (
            f'{RERANKED}{{ model = "mteb:mteb/baseline-random-encoder" }}\n',
            "one vector per text",
        ),
        (f'{RERANKED}{{ model = "mteb:x", max_length = 9 }}\n', "mteb decides it here"),
        (f"{RANDOM}prompts = {{}}\n", "mteb decides it here"),
        (f'{RANDOM}revision = "9"\n', "Model revision 9 not found"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(body: str, told: str, folder: Path):
    message = usage(folder, body)
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["Overlap", "OverlapOfMteb"])
def test_an_own_cross_encoder_orders_the_first_documents(name: str, folder: Path, store: Store):
    body = (
        f'[candidates.own]\nfrom = "words"\n'
        f'rerank = {{ factory = "own.py:{name}", version = "1", depth = 5 }}\n'
    )
    plan = run_suite(suite_of(folder, body), store)
    first = plan.planner.run_stage("words", "small").result(store)
    run = plan.planner.run_stage("own", "small").result(store)
    texts = plan.collections["small"]
    for query, (before, after) in enumerate(zip(first.documents, run.documents, strict=True)):
        words = set(texts.queries[query].split())
        top = [row for row in before[:5].tolist() if row >= 0]
        scored = sorted(
            top, key=lambda row: (len(words & set(texts.documents[row].split())), row), reverse=True
        )
        assert after[: len(top)].tolist() == scored
    assert planned(plan.suite.path, store).left() == []


@pytest.mark.parametrize(("how", "told"), [("few", "(1,) for"), ("nan", "finite numbers")])
def test_wrong_scores_of_an_own_cross_encoder_are_refused(
    how: str, told: str, folder: Path, store: Store
):
    body = (
        '[candidates.own]\nfrom = "words"\n[candidates.own.rerank]\nfactory = "own.py:Broken"\n'
        f'version = "1"\narguments.how = "{how}"\n'
    )
    assert told in failure(folder, body, store)


def test_a_model_of_mteb_is_encoded_as_mteb_does(folder: Path, store: Store):
    import mteb
    from datasets import Dataset
    from torch.utils.data import DataLoader

    found = vectors_of(folder, RANDOM, store, 0)
    model = mteb.get_model("mteb/baseline-random-encoder")
    inputs = DataLoader(Dataset.from_dict({"text": TEXTS}), batch_size=7)
    task = mteb.get_task("SciFact").metadata
    expected = model.encode(inputs, task_metadata=task, hf_split="test", hf_subset="default")
    assert np.array_equal(found, expected)
    plan = planned(folder / "suite.toml", store)
    assert plan.left() == []
    assert plan.planner.dense("own").model.parameters == 0


def test_a_cross_encoder_of_mteb_orders_the_first_documents(folder: Path, store: Store):
    body = f'{RERANKED}{{ model = "mteb:mteb/baseline-random-cross-encoder", depth = 5 }}\n'
    import mteb

    plan = run_suite(suite_of(folder, body), store)
    first = plan.planner.run_stage("words", "small").result(store)
    run = plan.planner.run_stage("own", "small").result(store)
    texts = plan.collections["small"]
    model = mteb.get_model("mteb/baseline-random-cross-encoder")
    for query, (before, after) in enumerate(zip(first.documents, run.documents, strict=True)):
        top = before[:5][before[:5] >= 0]
        scores = predict(
            model.predict, [(texts.queries[query], texts.documents[row]) for row in top]
        )
        assert after[: len(top)].tolist() == top[np.lexsort((-top, -scores))].tolist()
    assert planned(plan.suite.path, store).left() == []


@pytest.mark.filterwarnings("ignore::UserWarning")  # of mteb, that prompts are given
def test_prompts_of_a_registered_model_are_mtebs(
    folder: Path, store: Store, bert_model: Path, monkeypatch: pytest.MonkeyPatch
):
    from mteb.models.get_model_meta import MODEL_REGISTRY
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    like = MODEL_REGISTRY["mteb/baseline-random-encoder"]
    meta = like.model_copy(
        update={
            "name": "here/bert",
            "revision": None,
            "modalities": ["text"],
            "loader": lambda _name, revision=None, **more: SentenceTransformerEncoderWrapper(
                str(bert_model), revision, **more
            ),
            "loader_kwargs": {"model_prompts": {"query": "ba ", "document": "zi "}},
        }
    )
    monkeypatch.setitem(MODEL_REGISTRY, "here/bert", meta)
    found = [
        vectors_of(folder, '[candidates.own]\nmodel = "mteb:here/bert"\n', store, side)
        for side in (0, 1)
    ]
    plain = SentenceTransformer(str(bert_model), device="cpu")
    queries = [" ".join(text.split()[:3]) for text in TEXTS[:20]]
    for vectors, prompt, texts in zip(found, ("zi ", "ba "), (TEXTS, queries), strict=True):
        expected = plain.encode([prompt + text for text in texts], normalize_embeddings=False)
        assert np.allclose(vectors, expected, atol=1e-5)


def test_what_mteb_cannot_load_offline_is_told_at_plan(folder: Path, store: Store):
    path = suite_of(
        folder, '[candidates.own]\nmodel = "mteb:sentence-transformers/all-MiniLM-L12-v2"\n'
    )
    with pytest.raises(HarnessError, match="nor in the hub's local cache"):
        planned(path, store)
    plan = make_plan(load_suite(path), store, device="cpu", hub="later")
    assert any("a run lets mteb fetch it" in each for each in plan.planner.warnings)
    extra = suite_of(folder, '[candidates.own]\nmodel = "mteb:mongodb/voyage-3"\n')
    with pytest.raises(HarnessError, match="packages that are not installed"):
        planned(extra, store)
