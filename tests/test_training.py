from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import (
    DIMENSION,
    WORDS,
    full_disk,
    plan_of,
    save_bert,
    save_static,
    write_beir,
    write_suite,
)

from harness.errors import ExitCode, HarnessError
from harness.models.source import Given, ModelSource
from harness.models.weights import find_weights
from harness.retrieval.encoding import Encode, Texts
from harness.retrieval.search import search
from harness.stage import Context
from harness.store import Store
from harness.suite.training import FinetuneSpec
from harness.training.data import Origin, TrainingData, distinct
from harness.training.finetune import Train
from harness.training.mining import Examples

# The planted task: a query says with the first half of the words what a document says with the
# second half, so that nothing but training can bring the two together.
HALF = len(WORDS) // 2


def task(count: int, *, seed: int) -> TrainingData:
    draw = np.random.default_rng(seed)
    found: dict[tuple[int, ...], None] = {}
    while len(found) < count:
        found[tuple(draw.choice(HALF, 3, replace=False).tolist())] = None
    meanings = list(found)
    queries = [" ".join(WORDS[word] for word in meaning) for meaning in meanings]
    documents = [" ".join(WORDS[HALF + word] for word in meaning[::-1]) for meaning in meanings]
    return pairs_of(queries, documents)


def pairs_of(queries: list[str], documents: list[str]) -> TrainingData:
    rows = list(zip(queries, documents, strict=True))
    return distinct("pairs", rows, origin=Origin("task", read=len(rows)))


def train_stage(model: Path, **options: Any) -> Train:
    recipe = {"data": "some:train", "batch_size": 32, **options.pop("recipe", {})}
    usual: dict[str, Any] = {
        "name": "tuned",
        "parent": Given(find_weights(str(model))),
        "prompts": ("", ""),
        "max_length": None,
        "seed": 13,
    }
    data = Examples(options.pop("data", task(300, seed=1)))
    return Train(spec=FinetuneSpec(**recipe), data=data, **{**usual, **options})


def recall(model: ModelSource, store: Store, *, width: int = DIMENSION) -> float:
    """Return the share of held-out queries whose document is among the first five."""
    pairs = task(100, seed=2)
    sides = []
    for role, column in (("document", "positive"), ("query", "anchor")):
        encode = Encode(
            "m", model, role, "", "float32", None, Texts("some", tuple(pairs.columns[column]))
        )
        encode.run(Context(store=store))
        sides.append(encode.embeddings(store, normalised=True).truncated(width))
    run = search(sides[0], sides[1], depth=5)
    return float((run.documents == np.arange(100)[:, None]).any(axis=1).mean())


def files_of(stage: Train, store: Store) -> dict[str, bytes]:
    artifact = stage.artifact(store)
    assert artifact is not None
    return {name: (artifact.path / name).read_bytes() for name in artifact.meta["files"]}


def test_training_brings_held_out_queries_to_their_documents(static_model: Path, store: Store):
    stage = train_stage(static_model, recipe={"epochs": 5, "learning_rate": 0.05})
    before = recall(stage.parent, store)
    stage.run(Context(store=store))
    after = recall(stage, store)
    assert before < 0.2
    assert after > 0.8
    artifact = stage.artifact(store)
    assert artifact is not None
    assert artifact.meta["rows"] == 300
    assert 0 < artifact.meta["loss"] < 5


def test_a_matryoshka_recipe_trains_the_narrow_widths_and_has_a_key_of_its_own(
    static_model: Path, store: Store
):
    recipe = {"epochs": 5, "learning_rate": 0.05}
    wide = train_stage(static_model, recipe=recipe)
    nested = train_stage(static_model, recipe={**recipe, "matryoshka": [DIMENSION, 4]})
    assert wide.key(store) != nested.key(store)
    for stage in (wide, nested):
        stage.run(Context(store=store))
    assert recall(nested, store, width=4) > recall(wide, store, width=4)


@pytest.mark.parametrize("save", [save_static, save_bert])
def test_training_twice_gives_the_same_bytes(save: Any, tmp_path: Path):
    (tmp_path / "model").mkdir()
    model = save(tmp_path / "model", seed=1)
    keys, files = [], []
    for number in range(2):
        store = Store(tmp_path / f"store{number}")
        stage = train_stage(model, recipe={"epochs": 2})
        np.random.default_rng().random(number)
        stage.run(Context(store=store))
        weights = stage.weights(store)
        assert weights is not None
        keys.append(weights.key)
        files.append(files_of(stage, store))
    assert files[0] == files[1]
    assert keys[0] == keys[1] != find_weights(str(model)).key


def test_another_seed_gives_other_weights(bert_model: Path, store: Store):
    keys = set()
    for seed in (1, 2):
        stage = train_stage(bert_model, seed=seed)
        stage.run(Context(store=store))
        weights = stage.weights(store)
        assert weights is not None
        keys.add(weights.key)
    assert len(keys) == 2


@pytest.mark.parametrize("model", ["static_model", "bert_model"])
def test_a_trained_folder_is_loaded_by_plain_sentence_transformers(
    model: str, request: pytest.FixtureRequest, store: Store
):
    from sentence_transformers import SentenceTransformer

    stage = train_stage(request.getfixturevalue(model))
    stage.run(Context(store=store))
    artifact = stage.artifact(store)
    assert artifact is not None
    texts = task(20, seed=3).columns["anchor"]
    encode = Encode("m", stage, "query", "", "float32", None, Texts("some", tuple(texts)))
    encode.run(Context(store=store))
    plain = SentenceTransformer(str(artifact.path), device="cpu")
    wanted = plain.encode(list(texts), prompt="", show_progress_bar=False)
    found = encode.embeddings(store, normalised=False).block(0, 20)
    assert np.allclose(found, wanted, atol=1e-5)


def test_trained_weights_keep_what_their_parent_declares(bert_model: Path, store: Store):
    stage = train_stage(bert_model)
    assert stage.weights(store) is None
    stage.run(Context(store=store))
    before, after = find_weights(str(bert_model)), stage.weights(store)
    assert after is not None
    assert (after.layout, after.dimension) == (before.layout, before.dimension)
    assert (after.max_length, after.positions) == (before.max_length, before.positions)
    assert (after.prompts, after.similarity) == (before.prompts, before.similarity)


def test_everything_that_changes_the_training_changes_the_key_and_nothing_else_does(
    static_model: Path, bert_model: Path, store: Store
):
    different = [
        train_stage(static_model),
        train_stage(bert_model),
        train_stage(static_model, seed=14),
        train_stage(static_model, prompts=("ba ", "")),
        train_stage(static_model, max_length=8),
        train_stage(static_model, data=task(299, seed=1)),
        train_stage(static_model, data=task(300, seed=9)),
        train_stage(static_model, recipe={"epochs": 2}),
        train_stage(static_model, recipe={"batch_size": 16}),
        train_stage(static_model, recipe={"learning_rate": 0.1}),
        train_stage(static_model, recipe={"warmup_ratio": 0.0}),
    ]
    assert len({stage.key(store) for stage in different}) == len(different)
    renamed = train_stage(static_model, name="other", recipe={"data": "another:dev"})
    assert renamed.key(store) == different[0].key(store)


def test_a_stage_on_trained_weights_has_a_key_once_they_exist(static_model: Path, store: Store):
    stage = train_stage(static_model)
    encode = Encode("m", stage, "query", "", "float32", None, Texts("some", ("ba",)))
    again = Train("again", stage, stage.spec, stage.data, ("", ""), None, 13)
    assert encode.key(store) is None
    assert again.key(store) is None
    stage.run(Context(store=store))
    assert encode.key(store) is not None
    assert again.key(store) is not None


def test_training_reads_the_texts_with_their_prompts(bert_model: Path, store: Store):
    pairs = task(40, seed=1)
    queries, documents = pairs.columns.values()
    prompted = pairs_of([f"ba {text}" for text in queries], [f"be {text}" for text in documents])
    one = train_stage(bert_model, data=pairs, prompts=("ba ", "be "))
    other = train_stage(bert_model, data=prompted)
    for stage in (one, other):
        stage.run(Context(store=store))
    weights = [stage.weights(store) for stage in (one, other)]
    assert weights[0] is not None
    assert weights[1] is not None
    assert weights[0].key == weights[1].key


def test_a_training_that_diverges_is_one_error_and_stores_nothing(static_model: Path, store: Store):
    stage = train_stage(static_model, recipe={"learning_rate": 1e38, "epochs": 3})
    with pytest.raises(HarnessError, match="Lower learning_rate") as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert not stage.is_done(store)


def test_a_disk_that_fills_up_while_saving_is_one_error(static_model: Path, store: Store):
    stage = train_stage(static_model)
    with full_disk(after_bytes=2000), pytest.raises(HarnessError, match="cannot write") as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert not stage.is_done(store)
    assert list((store.root / "staging").iterdir()) == []


def test_too_few_pairs_for_a_batch_are_refused_by_the_plan(
    static_model: Path, tmp_path: Path, store: Store
):
    pairs = task(40, seed=1)
    write_beir(
        tmp_path / "small",
        documents={f"d{row}": text for row, text in enumerate(pairs.columns["positive"])},
        queries={f"q{row}": text for row, text in enumerate(pairs.columns["anchor"])},
        qrels={
            "train": [(f"q{row}", f"d{row}", 1) for row in range(30)],
            "test": [(f"q{row}", f"d{row}", 1) for row in range(30, 40)],
        },
    )
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{tmp_path}/small"
        [candidates.static]
        model = "{static_model}"
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "small:train", batch_size = 31 }}
        [candidates.wide]
        from = "static"
        finetune = {{ data = "small:train", batch_size = 8, matryoshka = [17, 8] }}
        """,
    )
    with pytest.raises(HarnessError) as caught:
        plan_of(suite, store)
    assert [problem.partition(" candidate ")[2] for problem in caught.value.problems] == [
        (
            "'tuned': finetune: 'small:train' has 30 pairs, fewer than one batch of 31. "
            "Lower batch_size or add data."
        ),
        (
            "'wide': finetune: matryoshka widths [17] exceed the 16 dimensions of 'static'. "
            "Give at most 16."
        ),
    ]
