"""Training a cross-encoder: it learns to tell relevant documents from mined negatives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import WORDS, plan_of, run_suite, write_beir, write_suite

from harness.errors import ExitCode, HarnessError
from harness.models.crossencoder import CrossEncoder, load_cross_encoder
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.plan.plan import Plan
from harness.results.gathering import gather, gather_costs
from harness.stage import Context
from harness.store import Store
from harness.suite.training import RerankerFinetuneSpec
from harness.training.data import Origin, TrainingData, distinct
from harness.training.mining import Examples
from harness.training.reranker import TrainReranker, labelled, restore_segments

HALF = len(WORDS) // 2


def task(count: int, *, seed: int) -> TrainingData:
    """Return a query, a document of words of the first half, and one of words of the second."""
    draw = np.random.default_rng(seed)
    halves = WORDS[:HALF], WORDS[HALF:]
    rows = [
        (draw.choice(WORDS), *(" ".join(draw.choice(half, 3)) for half in halves))
        for _ in range(count)
    ]
    return distinct("triplets", rows, origin=Origin("task", read=count))


def stage_of(model: Path, **options: Any) -> TrainReranker:
    recipe = {"data": "some:train", "learning_rate": 2e-3, **options.pop("recipe", {})}
    usual: dict[str, Any] = {
        "name": "trained",
        "base": Given(find_weights(str(model))),
        "examples": Examples(task(300, seed=1)),
        "max_length": None,
        "seed": 13,
    }
    return TrainReranker(spec=RerankerFinetuneSpec(**recipe), **{**usual, **options})


def right(model: Any, store: Store) -> float:
    """Return how often a held-out relevant document scores above the other one."""
    weights = model.weights(store)
    assert weights is not None
    scorer = CrossEncoder(weights, device="cpu")
    rows = list(task(200, seed=2).rows())
    scores = [scorer.score([(row[0], row[place]) for row in rows]) for place in (1, 2)]
    return float((scores[0] > scores[1]).mean())


def test_a_bi_encoder_learns_to_tell_held_out_documents_apart(bert_model: Path, store: Store):
    """Its transformer is taken, with a new head."""
    stage = stage_of(bert_model, recipe={"epochs": 3})
    stage.run(Context(store=store))
    assert right(stage, store) > 0.9


def test_a_cross_encoder_is_trained_further(bert_model: Path, store: Store):
    first = stage_of(bert_model, recipe={"max_steps": 5})
    further = stage_of(bert_model, base=first, recipe={"epochs": 2})
    assert further.key(store) is None
    first.run(Context(store=store))
    further.run(Context(store=store))
    assert right(first, store) < 0.9 < right(further, store)


def test_training_twice_gives_the_same_weights_and_another_seed_others(
    bert_model: Path, tmp_path: Path
):
    keys = []
    for number, seed in enumerate((13, 13, 14)):
        store = Store(tmp_path / f"store{number}")
        stage = stage_of(bert_model, seed=seed, recipe={"max_steps": 4})
        stage.run(Context(store=store))
        weights = stage.weights(store)
        assert weights is not None
        keys.append(weights.key)
    assert keys[0] == keys[1] != keys[2]


def test_everything_that_changes_the_training_changes_the_key_and_nothing_else_does(
    cross_encoder: Path, bert_model: Path, store: Store
):
    different = [
        stage_of(cross_encoder),
        stage_of(bert_model),
        stage_of(cross_encoder, seed=14),
        stage_of(cross_encoder, max_length=8),
        stage_of(cross_encoder, examples=Examples(task(299, seed=1))),
        stage_of(cross_encoder, recipe={"epochs": 2}),
        stage_of(cross_encoder, recipe={"batch_size": 8}),
        stage_of(cross_encoder, recipe={"learning_rate": 1e-3}),
        stage_of(cross_encoder, recipe={"max_steps": 3}),
    ]
    assert len({stage.key(store) for stage in different}) == len(different)
    renamed = stage_of(cross_encoder, name="other", recipe={"data": "another:dev"})
    assert renamed.key(store) == different[0].key(store)


def test_a_trained_reranker_is_loaded_by_plain_sentence_transformers(
    cross_encoder: Path, store: Store
):
    from sentence_transformers import CrossEncoder as Plain
    from torch.nn import Identity

    stage = stage_of(cross_encoder, recipe={"max_steps": 2})
    stage.run(Context(store=store))
    weights = stage.weights(store)
    assert weights is not None
    assert weights.layout == "cross-encoder"
    pairs = [(row[0], row[1]) for row in task(20, seed=3).rows()]
    plain = Plain(str(weights.folder), device="cpu").predict(pairs, activation_fn=Identity())
    assert np.allclose(CrossEncoder(weights, device="cpu").score(pairs), plain, atol=1e-5)


def test_max_steps_bounds_the_training(cross_encoder: Path, store: Store):
    stage = stage_of(cross_encoder, recipe={"max_steps": 3, "batch_size": 4})
    stage.run(Context(store=store))
    meta = stage.stored(store).meta
    assert (meta["steps"], meta["rows"]) == (3, 12)
    assert stage_of(cross_encoder, recipe={"max_steps": 10**6, "epochs": 2}).steps < 100


def test_a_training_that_diverges_is_one_error_and_stores_nothing(
    cross_encoder: Path, store: Store
):
    stage = stage_of(cross_encoder, recipe={"learning_rate": 1e38})
    with pytest.raises(HarnessError, match="Lower learning_rate") as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert not stage.is_done(store)


def test_rows_become_pairs_with_labels():
    triplets = distinct("triplets", [("q", "yes", "no", "never")], origin=Origin("x"))
    found = labelled(triplets)
    assert list(zip(found.queries, found.documents, found.labels.tolist(), strict=True)) == [
        ("q", "yes", 1.0),
        ("q", "no", 0.0),
        ("q", "never", 0.0),
    ]
    scored = distinct("scored", [("a", "b"), ("a", "c")], origin=Origin("x"), labels=[0.4, 1.0])
    assert labelled(scored).labels.tolist() == [0.4, 1.0]
    assert labelled(scored).documents == ["b", "c"]


def test_a_tokenizer_that_dropped_the_segments_gets_them_back(cross_encoder: Path, tmp_path: Path):
    """Without them every token counts as the query's, and nobody says so."""
    told = tmp_path / "told"
    told.mkdir()
    for file in cross_encoder.iterdir():
        (told / file.name).write_bytes(file.read_bytes())
    config = json.loads((told / "tokenizer_config.json").read_text("utf-8"))
    config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (told / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    models = [
        load_cross_encoder(find_weights(str(folder)), device="cpu")
        for folder in (told, cross_encoder)
    ]
    pairs = [("ba be", "bi bo"), ("ca", "ce")]
    whole, dropped = (model.predict(pairs) for model in models)
    assert not np.allclose(whole, dropped)
    restore_segments(models[1])
    assert np.allclose(models[1].predict(pairs), whole)


def suite(folder: Path, reranker: str, *, model: Path) -> Path:
    words = [word for word in WORDS if word[0] in "kpz"]  # none of them an English function word
    pairs = [(one, two) for one in words for two in words if one != two]
    documents = {f"d{row:03}": f"{one} {two}" for row, (one, two) in enumerate(pairs)}
    places = {text: key for key, text in documents.items()}
    queries = {f"q{word}": word for word in words}
    relevant = [
        (f"q{one}", places[f"{one} {two}"], 1) for one in words for two in words if one != two
    ]
    write_beir(
        folder / "small",
        documents=documents,
        queries=queries,
        qrels={"train": relevant[:88], "test": relevant[88:]},
    )
    return write_suite(
        folder / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{folder}/small"
        [candidates.static]
        model = "{model}"
        [candidates.rerank]
        from = "static"
        rerank = {{ {reranker} }}
        """,
    )


def trained(plan: Plan) -> TrainReranker:
    stage = plan.planner.training("rerank")
    assert isinstance(stage, TrainReranker)
    return stage


FINETUNE = (
    'finetune = { data = "small:train", epochs = 8, learning_rate = 2e-3, '
    "hard_negatives = { per_query = 3, range = [1, 40], ceiling = 3.0 } }"
)


def test_a_suite_trains_its_reranker_on_mined_negatives(
    static_model: Path, cross_encoder: Path, tmp_path: Path, store: Store
):
    path = suite(tmp_path, f'model = "{cross_encoder}", depth = 40, {FINETUNE}', model=static_model)
    plan = run_suite(path, store)
    labels = [stage.label for stage in plan.stages]
    order = [
        "search with static on small:train",
        "mine negatives for rerank with static on small:train",
        "train the reranker of rerank",
        "score pairs of small with rerank",
        "rerank for rerank on small",
    ]
    assert [label for label in labels if label in order] == order
    assert plan_of(path, store).left() == []
    results, costs = gather(plan), gather_costs(plan)
    change = next(each.change for each in results.candidates if each.name == "rerank")
    assert change == f"top 40 reranked by {cross_encoder}, trained on small:train"
    cost = next(each for each in costs.costs if each.candidate == "rerank")
    assert cost.training_seconds is not None
    assert cost.training_pairs == trained(plan).stored(store).meta["rows"] == 4 * 88
    assert cost.parameters is not None


def test_pairs_are_mined_with_the_defaults_where_nothing_is_said(
    static_model: Path, cross_encoder: Path, tmp_path: Path, store: Store
):
    said = f'model = "{cross_encoder}", finetune = {{ data = "small:train" }}'
    plan = plan_of(suite(tmp_path, said, model=static_model), store)
    negatives = trained(plan).examples.negatives
    assert negatives is not None
    assert (negatives.spec.per_query, negatives.spec.range) == (4, [10, 100])


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('model = "{static}", finetune = {{ data = "small:train" }}', "is static and cannot read"),
        ('model = "{bert}"', "or train it first: finetune"),
        ('candidate = "static", finetune = {{ data = "small:train" }}', "'finetune' belongs to a"),
        ('model = "{cross}", finetune = {{ data = "small:test" }}', "is scored on"),
        ('model = "{cross}", finetune = {{ data = "small:train", epoch = 2 }}', "mean 'epochs'"),
    ],
)
def test_a_mistake_in_the_recipe_is_told_with_its_fix(
    said: str,
    message: str,
    static_model: Path,
    bert_model: Path,
    cross_encoder: Path,
    tmp_path: Path,
    store: Store,
):
    said = said.format(static=static_model, bert=bert_model, cross=cross_encoder)
    with pytest.raises(HarnessError) as caught:
        plan_of(suite(tmp_path, said, model=static_model), store)
    assert message in str(caught.value)


def test_a_reranker_behind_a_reranker_names_who_finds_its_negatives(
    static_model: Path, cross_encoder: Path, tmp_path: Path, store: Store
):
    path = suite(tmp_path, f'model = "{cross_encoder}"', model=static_model)
    second = f"""
        [candidates.again]
        from = "rerank"
        rerank = {{ model = "{cross_encoder}", finetune = {{ data = "small:train" }} }}
        """
    path.write_text(path.read_text("utf-8") + second, "utf-8")
    with pytest.raises(HarnessError, match="'rerank' does not search by itself"):
        plan_of(path, store)


def test_a_training_that_does_not_exist_yet_has_no_weights(cross_encoder: Path, store: Store):
    stage = stage_of(cross_encoder)
    assert stage.weights(store) is None
    assert replace(stage, base=stage_of(cross_encoder, seed=1)).key(store) is None
