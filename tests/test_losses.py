from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from conftest import DIMENSION, WORDS, save_static

from harness.errors import ExitCode, HarnessError
from harness.models.source import Given, ModelSource
from harness.models.weights import find_weights
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.search import search
from harness.stage import Context
from harness.store import Store
from harness.suite.training import FinetuneSpec, Loss
from harness.training.data import Origin, Shape, TrainingData, distinct
from harness.training.finetune import Train
from harness.training.losses import LOSSES, columns_for, refuse_loss
from harness.training.mining import Examples

# The planted task: a document says a query's words in another vocabulary, so that nothing but
# training brings the two together.
HALF = 20
NARROW = [DIMENSION, 8]


def meanings(count: int, *, seed: int) -> list[tuple[int, ...]]:
    draw = np.random.default_rng(seed)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        found[tuple(draw.choice(HALF, 3, replace=False).tolist())] = None
    return list(found)


def asked(meaning: tuple[int, ...]) -> str:
    return " ".join(WORDS[word] for word in meaning)


def said(meaning: tuple[int, ...]) -> str:
    return " ".join(WORDS[HALF + word] for word in meaning[::-1])


def data_of(shape: Shape, *, seed: int = 1, count: int = 300) -> TrainingData:
    """Return the planted task in a shape."""
    found = meanings(count, seed=seed)
    draw = np.random.default_rng(seed)
    others = [found[row] for row in draw.permutation(count)]
    rows: list[tuple[str, ...]]
    labels: list[float] | None = None
    match shape:
        case "pairs":
            rows = [(asked(one), said(one)) for one in found]
        case "triplets":
            rows = [
                (asked(one), said(one), said(two)) for one, two in zip(found, others, strict=True)
            ]
        case "labelled":
            rows = [(asked(one), said(one)) for one in found]
            rows += [(asked(one), said(two)) for one, two in zip(found, others, strict=True)]
            labels = [1.0] * count + [0.0] * count
        case "scored":
            rows = [(asked(one), said(one)) for one in found]
            rows += [(asked(one), said(two)) for one, two in zip(found, others, strict=True)]
            labels = [1.0] * count
            labels += [len({*one} & {*two}) / 3 for one, two in zip(found, others, strict=True)]
        case "texts":
            rows = [(asked(one),) for one in found]
    return distinct(shape, rows, labels=labels, origin=Origin("task", read=len(rows)))


def stage_of(model: Path, loss: Loss, **options: Any) -> Train:
    recipe = {"batch_size": 32, "epochs": 4, "learning_rate": 0.05, **options.pop("recipe", {})}
    return Train(
        name="tuned",
        parent=Given(find_weights(str(model))),
        spec=FinetuneSpec(data="some:train", loss=loss, **recipe),
        data=Examples(options.pop("data", None) or data_of(LOSSES[loss].shapes[0])),
        prompts=("", ""),
        max_length=None,
        seed=13,
        **options,
    )


def recall(
    model: ModelSource, store: Store, sides: tuple[list[str], list[str]], width: int = DIMENSION
) -> float:
    """Return the share of held-out queries whose document is among the first five."""
    vectors = []
    for role, texts in (("query", sides[0]), ("document", sides[1])):
        encode = Encode("m", model, role, "", "float32", None, Texts("some", tuple(texts)))
        encode.run(Context(store=store))
        vectors.append(encode.embeddings(store, normalised=True).truncated(width))
    run = search(vectors[1], vectors[0], depth=5)
    return float((run.documents == np.arange(len(sides[0]))[:, None]).any(axis=1).mean())


def held_out() -> tuple[list[str], list[str]]:
    found = meanings(100, seed=2)
    return [asked(one) for one in found], [said(one) for one in found]


STATIC = [loss for loss in get_args(Loss) if not LOSSES[loss].transformer]


@pytest.mark.parametrize(
    ("loss", "matryoshka"),
    [
        *((loss, []) for loss in STATIC),
        (STATIC[0], NARROW),
        # One class cuts the vectors for every loss.
        *(pytest.param(loss, NARROW, marks=pytest.mark.slow) for loss in STATIC[1:]),
    ],
)
def test_every_loss_brings_held_out_queries_to_their_documents(
    loss: Loss, matryoshka: list[int], static_model: Path, store: Store
):
    stage = stage_of(static_model, loss, recipe={"matryoshka": matryoshka})
    before = recall(stage.parent, store, held_out())
    stage.run(Context(store=store))
    after = recall(stage, store, held_out())
    assert before < 0.2
    assert after > before + 0.2
    if matryoshka:
        narrow = [recall(model, store, held_out(), 8) for model in (stage.parent, stage)]
        assert narrow[1] > narrow[0] + 0.1


@pytest.mark.parametrize(
    ("loss", "matryoshka"),
    [
        ("gist", []),
        ("cached-multiple-negatives", []),
        ("cached-multiple-negatives", NARROW),  # cut in a way of its own
        pytest.param("gist", NARROW, marks=pytest.mark.slow),
    ],
)
def test_losses_of_transformers_alone_learn_too(
    loss: Loss, matryoshka: list[int], bert_model: Path, store: Store
):
    options: dict[str, Any] = {
        "recipe": {"matryoshka": matryoshka, "learning_rate": 1e-2, "epochs": 3}
    }
    if loss == "gist":
        options["guide"] = Given(find_weights(str(bert_model)))
        options["recipe"]["guide"] = "other"
    else:
        options["recipe"]["mini_batch_size"] = 16
    stage = stage_of(bert_model, loss, **options)
    stage.run(Context(store=store))
    for width in matryoshka or [DIMENSION]:
        before, after = (recall(model, store, held_out(), width) for model in (stage.parent, stage))
        assert after > before + 0.2


@pytest.mark.parametrize("matryoshka", [[], pytest.param(NARROW, marks=pytest.mark.slow)])
def test_simcse_spreads_texts_apart_that_nobody_labelled(
    matryoshka: list[int], bert_model: Path, store: Store
):
    # A query is a text without its last word; the text is to be found again.
    texts = [asked(one) for one in meanings(200, seed=5)]
    sides = ([text.rpartition(" ")[0] for text in texts], texts)
    recipe = {"learning_rate": 1e-3, "epochs": 4, "matryoshka": matryoshka}
    stage = stage_of(bert_model, "simcse", recipe=recipe)
    stage.run(Context(store=store))
    artifact = stage.artifact(store)
    assert artifact is not None
    assert artifact.meta["mean_cosine"][1] < artifact.meta["mean_cosine"][0] - 0.1
    for width in matryoshka or [DIMENSION]:
        before, after = (recall(model, store, sides, width) for model in (stage.parent, stage))
        assert after > before + 0.05


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_loss_refuses_every_shape_that_it_can_not_learn_from(loss: Loss):
    guide = {"guide": "g"} if loss == "gist" else {}
    spec = FinetuneSpec(data="some:train", loss=loss, **guide)
    shapes = LOSSES[loss].shapes
    for shape in get_args(Shape):
        data = data_of(shape, count=20)
        if shape in shapes:
            refuse_loss(spec, Examples(data), parent=None, guide=None)
            continue
        with pytest.raises(HarnessError) as caught:
            refuse_loss(spec, Examples(data), parent=None, guide=None)
        assert caught.value.exit_code is ExitCode.USAGE
        wanted = f"'{loss}' learns from {' or '.join(shapes)}, but 'some:train' has {shape}."
        assert wanted in str(caught.value)


def test_the_guided_loss_refuses_several_negatives_and_static_models(static_model: Path):
    pairs = data_of("pairs", count=20)
    data = pairs.with_negatives([["ba", "be"]] * 20)
    static = find_weights(str(static_model))
    spec = FinetuneSpec(data="some:train", loss="gist", guide="g")
    with pytest.raises(HarnessError) as caught:
        refuse_loss(spec, Examples(data), parent=static, guide=static)
    assert [problem.partition(". ")[0] for problem in caught.value.problems] == [
        "finetune: loss 'gist' takes 1 negative a row, got 2",
        "finetune: loss 'gist' needs a transformer, but that of 'from' is static",
        "finetune: loss 'gist' needs a transformer, but that of 'guide' is static",
    ]


@pytest.mark.parametrize("loss", ["simcse", "cached-multiple-negatives"])
def test_static_embeddings_are_refused_by_losses_of_transformers(loss: Loss, static_model: Path):
    spec = FinetuneSpec(data="some:train", loss=loss)
    data = data_of(LOSSES[loss].shapes[0], count=20)
    with pytest.raises(HarnessError, match="needs a transformer, but that of 'from' is static"):
        refuse_loss(spec, Examples(data), parent=find_weights(str(static_model)), guide=None)


def test_a_row_with_several_negatives_is_several_rows_of_the_triplet_loss():
    pairs = distinct("pairs", [("a", "b"), ("c", "d")], origin=Origin("x"))
    data = pairs.with_negatives([["e", "f"], ["g", "h"]])
    assert columns_for("triplet", data) == {
        "anchor": ["a", "c", "a", "c"],
        "positive": ["b", "d", "b", "d"],
        "negative": ["e", "g", "f", "h"],
    }
    assert list(columns_for("multiple-negatives", data)) == [*data.columns]


def test_the_guide_is_part_of_the_key(bert_model: Path, tmp_path: Path, store: Store):
    recipe = {"guide": "other"}
    keys = {
        stage_of(bert_model, "gist", recipe=recipe, guide=Given(find_weights(str(guide)))).key(
            store
        )
        for guide in (bert_model, save_static(tmp_path, seed=9))
    }
    assert len(keys - {None}) == 2
    waiting = stage_of(bert_model, "gist", recipe=recipe, guide=Given(None))
    assert waiting.key(store) is None
