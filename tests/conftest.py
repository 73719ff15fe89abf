"""Small real things that the tests run: models with random weights, collections, vectors."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

# No test may ask a model hub; both are read when huggingface_hub is first imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# No test speaks TLS: a client need not read every certificate of the machine when it is opened.
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
os.environ.pop("SSL_CERT_FILE", None)  # it would go before the folder

from harness.plan.execute import execute
from harness.plan.plan import Plan, make_plan
from harness.retrieval import latency, precision
from harness.stage import Silent
from harness.store import Store
from harness.suite.load import load_suite

# It loads torch and its like, for the server of `command_line` alone.
collect_ignore = ["preloaded.py"]

# Each model that is loaded parses what two packages say of themselves, and each step of a training
# looks for a package: once will do.
_METADATA, _OF_MODELS = metadata.metadata, {"accelerate", "datasets"}
_KNOWN = cache(_METADATA)
metadata.metadata = lambda name: (_KNOWN if name in _OF_MODELS else _METADATA)(name)
sys.modules.setdefault("lomo_optim", None)  # type: ignore[arg-type] # it is not there


def pytest_configure() -> None:
    """Look for garbage rarely: imports and tests make many objects that live."""
    gc.set_threshold(50_000, 20, 20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that fork commands: one worker gets them, and starts one server.

    A server takes ten seconds to import what its commands need. The pages in a browser take minutes
    one after the other: they begin the last third, where a third worker begins.
    """
    forking = re.compile(r"^(from|import) (command_line|gate_suites)\b", re.MULTILINE)
    paths = {item.path for item in items}
    forks = {path for path in paths if forking.search(path.read_text("utf-8"))}
    items.sort(key=lambda item: item.path not in forks)
    pages = [item for item in items if item.path.stem == "test_app_browser"]
    others = [item for item in items if item.path.stem != "test_app_browser"]
    place = 2 * len(others) // 3
    items[:] = [*others[:place], *pages, *others[place:]]


WORDS = [f"{first}{second}" for first in "bcdfghjklmnprstvwz" for second in ("a", "e", "i", "o")]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
DIMENSION = 16
MAX_TOKENS = 24


def sentences(count: int, *, seed: int, words: int = 6) -> list[str]:
    """Return distinct texts of one to `words` words that the small models know."""
    draw = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        texts[" ".join(draw.choice(WORDS, draw.integers(1, words + 1)))] = None
    return list(texts)


def write_beir(
    folder: Path,
    *,
    documents: Mapping[str, str],
    queries: Mapping[str, str],
    qrels: Mapping[str, Iterable[tuple[str, str, int]]],
) -> Path:
    """Write a folder in BEIR's layout and return it."""
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    for split, rows in qrels.items():
        lines = ["query-id\tcorpus-id\tscore\n", *(f"{q}\t{d}\t{g}\n" for q, d, g in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("".join(lines), "utf-8")
    return folder


def write_vectors(path: Path, vectors: Any, ids: Sequence[str]) -> Path:
    """Write a ``.npy`` file with its ids beside it."""
    np.save(path, np.asarray(vectors, dtype=np.float32))
    path.with_suffix(".ids.txt").write_text("".join(f"{key}\n" for key in ids), "utf-8")
    return path


def write_suite(path: Path, text: str) -> Path:
    """Write a suite file: its candidates and collections follow a usual head."""
    head = 'name = "small"\nmetrics = ["ndcg@10", "recall@20"]\n'
    path.write_text(head + text, "utf-8")
    return path


def plan_of(path: Path, store: Store) -> Plan:
    """Return the plan of a suite file."""
    return make_plan(load_suite(path), store, device="cpu", hub="refuse")


def run_suite(path: Path, store: Store) -> Plan:
    """Run a suite file and return its plan."""
    plan = plan_of(path, store)
    execute(plan, progress=Silent())
    return plan


@contextmanager
def full_disk(*, after_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size: the system refuses the rest, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FROZEN = {"modules": 0}


@pytest.fixture(autouse=True)
def young_objects_alone() -> None:
    """Let collections of garbage pass over what was imported before this test.

    A training collects after each run, which takes most of a second with torch and its like.
    """
    if len(sys.modules) > FROZEN["modules"] + 50:
        gc.collect()
        gc.freeze()
        FROZEN["modules"] = len(sys.modules)


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mark no timing, as other work may run beside the tests, and wait for no disk.

    What is not on the disk yet is lost with the power alone; forked commands do wait.
    """
    for place in ("harness.artifact.flush", "harness.store.flush"):
        monkeypatch.setattr(place, lambda _: None)
    monkeypatch.setattr(latency, "calibrate", lambda: latency.Calibration(1.0, 1.0, 0.0))
    monkeypatch.setattr(latency, "_LEAST_CPU_OF_QUERIES", 0.0)


@pytest.fixture(autouse=True)
def torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `engine = "auto"` find no engine beside torch, and no bfloat16, on any machine."""
    monkeypatch.setattr(precision, "installed", list)
    monkeypatch.setattr(precision, "has_bfloat16", lambda: False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store."""
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection of 60 documents: 20 queries to test, 40 to train, each with one answer.

    The first three words of its answer make a query.
    """
    documents = sentences(60, seed=12, words=8)
    return write_beir(
        tmp_path_factory.mktemp("beir") / "small",
        documents={f"d{row:02}": text for row, text in enumerate(documents)},
        queries={f"q{row:02}": text[:8] for row, text in enumerate(documents)},
        qrels={
            "test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(20)],
            "train": [(f"q{row:02}", f"d{row:02}", 1) for row in range(20, 60)],
        },
    )


@pytest.fixture(scope="session")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return static embeddings of `WORDS`, saved by sentence-transformers."""
    return save_static(tmp_path_factory.mktemp("static"), seed=1)


@pytest.fixture(scope="session")
def bert_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bi-encoder of two layers with declared prompts, saved by sentence-transformers."""
    return save_bert(tmp_path_factory.mktemp("bert"), seed=2)


@pytest.fixture(scope="session")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cross-encoder of one label, saved by sentence-transformers."""
    return save_cross_encoder(tmp_path_factory.mktemp("cross"), seed=3)


@pytest.fixture(scope="session")
def sparse_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a sparse encoder, saved by sentence-transformers."""
    return save_sparse(tmp_path_factory.mktemp("sparse"), seed=4)


@pytest.fixture(scope="session")
def multi_vector_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a late-interaction model, saved by sentence-transformers."""
    return save_multi_vector(tmp_path_factory.mktemp("multi"), seed=5)


def save_static(folder: Path, *, seed: int, dimension: int = DIMENSION) -> Path:
    """Save static embeddings of `WORDS`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    matrix = np.random.default_rng(seed).normal(size=(len(SPECIAL + WORDS), dimension))
    module = StaticEmbedding(_tokenizer(), embedding_weights=matrix.astype(np.float32))
    model = SentenceTransformer(modules=[module], device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def save_bert(folder: Path, *, seed: int) -> Path:
    """Save a bi-encoder that declares a prompt for queries and another for documents."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    plain = folder / "plain"
    BertModel(BertConfig(**_CONFIG)).save_pretrained(plain)
    _fast_tokenizer().save_pretrained(plain)
    modules = [Transformer(str(plain)), Pooling(DIMENSION)]
    prompts = {"query": "ba be ", "document": "bi bo "}
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def save_sparse(folder: Path, *, seed: int, inference_free: bool = False) -> Path:
    """Save a SPLADE model of two layers; inference-free, with given weights for query terms."""
    import torch
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sentence_transformer.modules import Router, Transformer
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding, SpladePooling
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    plain = folder / "plain"
    BertForMaskedLM(BertConfig(**_CONFIG, initializer_range=0.5)).save_pretrained(plain)
    _fast_tokenizer().save_pretrained(plain)
    modules: list[Any] = [Transformer(str(plain), transformer_task="fill-mask"), SpladePooling()]
    if inference_free:
        static = SparseStaticEmbedding(_fast_tokenizer(), torch.rand(len(SPECIAL + WORDS)))
        modules = [Router.for_query_document([static], modules)]
    model = SparseEncoder(modules=modules, device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def save_multi_vector(folder: Path, *, seed: int) -> Path:
    """Save a late-interaction model of two layers that marks both sides and skips "ba"."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    plain = folder / "plain"
    BertModel(BertConfig(**_CONFIG, initializer_range=0.5)).save_pretrained(plain)
    _fast_tokenizer().save_pretrained(plain)
    tokens = {"module_input_name": "token_embeddings"}
    linear = Dense(DIMENSION, 8, bias=False, activation_function=torch.nn.Identity(), **tokens)
    modules = [Transformer(str(plain)), linear, MultiVectorMask(["ba"]), Normalize(**tokens)]
    prompts = {"query": "bo ", "document": "bi "}
    model = MultiVectorEncoder(modules=modules, device="cpu", prompts=prompts)
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def save_cross_encoder(folder: Path, *, seed: int, labels: int = 1) -> Path:
    """Save a cross-encoder."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(seed)
    config = BertConfig(**_CONFIG, num_labels=labels, initializer_range=0.5)
    BertForSequenceClassification(config).save_pretrained(folder)
    _fast_tokenizer().save_pretrained(folder)
    return folder


_CONFIG = {
    "vocab_size": len(SPECIAL + WORDS),
    "hidden_size": DIMENSION,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": MAX_TOKENS,
}


def _tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    places = {word: place for place, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(WordLevel(places, unk_token=SPECIAL[1]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(word, places[word]) for word in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _fast_tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    names = ("pad", "unk", "cls", "sep", "mask")
    special = {f"{name}_token": word for name, word in zip(names, SPECIAL, strict=True)}
    return PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(), model_max_length=MAX_TOKENS, **special
    )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Give the address of a real S3 server on this machine: one, since clients remember it."""
    pytest.importorskip("s3fs", reason="the 's3' extra is not installed")
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def s3(s3_server: str) -> Iterator[str]:
    """Give the URL of a bucket at a real S3 server on this machine."""
    said = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in said.items():
            patch.setenv(name, value)
        from fsspec.core import url_to_fs

        url_to_fs("s3://team")[0].makedirs("s3://team", exist_ok=True)
        yield "s3://team"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return Debian's Chromium, without windows where there is a choice.

    Where it is missing, root installs it, one worker at a time.
    """
    small = "chromium-headless-shell"  # takes less than half of the time
    apt_get = shutil.which("apt-get")
    with FileLock(tmp_path_factory.getbasetemp().parent / "chromium.lock"):
        found = shutil.which(small) or shutil.which("chromium")
        if found is None and apt_get is not None and os.geteuid() == 0:
            for step in (["update"], ["install", "-y", "--no-install-recommends", small]):
                subprocess.run([apt_get, *step], check=False, capture_output=True, timeout=600)
            found = shutil.which(small)
    if found is None:
        pytest.skip("the page is not tried: there is no chromium, and it could not be installed")
    return found
