"""Kinds of candidates: the table of each, and what it says about itself; one module each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.providers.table import PROVIDERS
from harness.suite.kinds.api import Api, ApiReranking
from harness.suite.kinds.bm25 import Bm25
from harness.suite.kinds.dense import Dense
from harness.suite.kinds.finetune import Finetune
from harness.suite.kinds.fuse import Fuse
from harness.suite.kinds.index import Index
from harness.suite.kinds.interpolate import Interpolate
from harness.suite.kinds.kind import CandidateSpec
from harness.suite.kinds.multi_vector import MultiVector
from harness.suite.kinds.own import Factory, Mteb, MtebReranking, OwnReranking
from harness.suite.kinds.quantize import Quantize
from harness.suite.kinds.query_model import ApiAsked, DenseAsked, QueryModel
from harness.suite.kinds.rerank import Reranking
from harness.suite.kinds.retriever import Retriever
from harness.suite.kinds.run import RunFile
from harness.suite.kinds.sparse import Sparse
from harness.suite.kinds.truncate import Truncate
from harness.suite.kinds.vectors import VectorFiles

# The key that only this kind of candidate has: it says which table is meant.
KINDS: Mapping[str, type[CandidateSpec]] = {
    "kind": Bm25,
    "model": Dense,
    "sparse": Sparse,
    "multi_vector": MultiVector,
    "factory": Factory,
    "run": RunFile,
    "retriever": Retriever,
    "vectors": VectorFiles,
    "truncate": Truncate,
    "quantize": Quantize,
    "index": Index,
    "query_model": QueryModel,
    "rerank": Reranking,
    "finetune": Finetune,
    "interpolate": Interpolate,
    "fuse": Fuse,
}

# The kinds whose model is named with a prefix, or which hold a factory in the place of a model, by
# that prefix, or "factory", and the key of the kind.
PREFIXED: Mapping[tuple[str, str], type[CandidateSpec]] = {
    ("mteb", "model"): Mteb,
    ("mteb", "rerank"): MtebReranking,
    ("factory", "rerank"): OwnReranking,
    **{(prefix, "model"): Api for prefix in PROVIDERS},
    **{(prefix, "rerank"): ApiReranking for prefix in PROVIDERS},
}


# The kinds whose documents and queries are encoded by two models, by that of the documents.
ASKED: Mapping[type[CandidateSpec], type[CandidateSpec]] = {Dense: DenseAsked, Api: ApiAsked}


def kind_named(key: str, value: Any) -> type[CandidateSpec]:
    """Return the kind that a key of `KINDS` and the model in its value name.

    >>> kind_named("model", "openai:text-embedding-3-small").word, kind_named("model", "a/b").word
    ('api', 'dense')
    """
    model = value.get("model") if isinstance(value, dict) else value
    prefix = model.partition(":")[0] if isinstance(model, str) else ""
    if isinstance(value, dict) and "factory" in value:
        prefix = "factory"
    return PREFIXED.get((prefix, key), KINDS[key])


# What results and reports know of a kind by its word.
TRAINED = frozenset(kind.word for kind in KINDS.values() if kind.trains)
SHORTENED = frozenset(kind.word for kind in KINDS.values() if kind.shortens)
