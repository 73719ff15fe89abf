"""Dev: how well a model does on held-out data while it is trained, by the shape of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from harness.errors import ExitCode, HarnessError
from harness.training.data import Shape, TrainingData

_MOST_ROWS = 1000
_BATCH = 32


class Measure(NamedTuple):
    """What is measured.

    Attributes:
        name: for people.
        key: of sentence-transformers' evaluator.
    """

    name: str
    key: str


MEASURES: Mapping[Shape, Measure] = {
    "pairs": Measure("ndcg@10", "cosine_ndcg@10"),
    "triplets": Measure("ndcg@10", "cosine_ndcg@10"),
    "labelled": Measure("average precision", "cosine_ap"),
    "scored": Measure("Spearman correlation", "spearman_cosine"),
}


class DevResult(NamedTuple):
    """How a training did on its dev data.

    Attributes:
        measure: what was measured.
        n: rows.
        before: value of the parent.
        best: value of the checkpoint that was kept.
        best_step: its step.
        values: (step, value), in order.
    """

    measure: str
    n: int
    before: float
    best: float
    best_step: int
    values: list[tuple[int, float]]


def refuse_dev(name: str, data: TrainingData) -> None:
    """Raise if nothing can be measured on such data.

    Raises:
        HarnessError: exit code 2.
    """
    if data.shape not in MEASURES:
        raise HarnessError(
            f"finetune: dev: '{name}' has {data.shape}, on which nothing can be measured. Name "
            f"{' or '.join(MEASURES)}.",
            exit_code=ExitCode.USAGE,
        )


def dev_sample(data: TrainingData, *, seed: int) -> TrainingData:
    """Return at most 1,000 rows, drawn evenly."""
    if len(data) <= _MOST_ROWS:
        return data
    rows = np.random.default_rng(seed).choice(len(data), _MOST_ROWS, replace=False)
    return data.take(np.sort(rows))


def evaluator(data: TrainingData, *, prompts: tuple[str, str]) -> Any:
    """Return sentence-transformers' evaluator of dev data.

    Queries of pairs are searched in all documents of the data, negatives included.
    """
    from sentence_transformers.sentence_transformer.evaluation import (
        BinaryClassificationEvaluator,
        EmbeddingSimilarityEvaluator,
        InformationRetrievalEvaluator,
    )

    usual: dict[str, Any] = {"batch_size": _BATCH, "write_csv": False}
    if data.labels is None:
        queries, documents, relevant = _retrieval(list(data.columns.values()))
        return InformationRetrievalEvaluator(
            queries,
            documents,
            relevant,
            query_prompt=prompts[0],
            corpus_prompt=prompts[1],
            **usual,
        )
    first, second = (
        [prompt + text for text in texts]
        for prompt, texts in zip(prompts, data.columns.values(), strict=True)
    )
    labels = data.labels.tolist()
    if data.shape == "labelled":
        usual["similarity_fn_names"] = ["cosine"]
        return BinaryClassificationEvaluator(first, second, list(map(int, labels)), **usual)
    return EmbeddingSimilarityEvaluator(first, second, labels, main_similarity="cosine", **usual)


def _retrieval(
    columns: list[Sequence[str]],
) -> tuple[dict[str, Any], dict[str, Any], dict[str, set[str]]]:
    """Return queries, documents and judgements by id; equal texts are one."""
    ids: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for text in columns[0]:
        ids[0].setdefault(text, f"q{len(ids[0])}")
    for texts in columns[1:]:
        for text in texts:
            ids[1].setdefault(text, f"d{len(ids[1])}")
    relevant: dict[str, set[str]] = {}
    for query, document in zip(columns[0], columns[1], strict=True):
        relevant.setdefault(ids[0][query], set()).add(ids[1][document])
    queries, documents = ({key: text for text, key in side.items()} for side in ids)
    return queries, documents, relevant
