"""Hard negatives: what is taken of what a search finds, and that a training learns from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import plan_of, run_suite, sentences, write_beir, write_suite

from harness.errors import ExitCode, HarnessError
from harness.results.gathering import gather, gather_costs
from harness.results.training import mining_in_words
from harness.stage import Context
from harness.store import Store
from harness.training.finetune import Train
from harness.training.mining import Examples, MineNegatives
from harness.training.negatives import Pool, choose_negatives, fill, highest_allowed
from reports import markdown


def pool(
    scores: list[float], *, positive: float, relevant: tuple[int, ...] = (), texts: Any = None
) -> Pool:
    """Return what one query found: documents 0, 1, 2, … with these scores, best first."""
    count = len(scores)
    return Pool(
        documents=np.arange(count, dtype=np.int32)[None],
        scores=np.array([scores], dtype=np.float32),
        positive_scores=np.array([positive], dtype=np.float32),
        relevant=np.isin(np.arange(count), relevant)[None],
        texts=np.arange(count) if texts is None else np.array(texts),
    )


def chosen(found: Pool, **options: Any) -> list[int]:
    usual = {"per_query": 4, "ceiling": 0.95, "margin": 0.0}
    return choose_negatives(found, **{**usual, **options}).rows[0].tolist()


def test_documents_that_score_like_the_relevant_one_are_left_out():
    found = pool([0.9, 0.77, 0.75, 0.5], positive=0.8)
    assert chosen(found) == [2, 3, -1, -1]
    assert chosen(found, margin=0.2) == [3, -1, -1, -1]
    assert chosen(found, ceiling=1.0) == [1, 2, 3, -1]


@pytest.mark.parametrize("positive", [0.8, -0.2, 0.0, 14.0])
def test_the_ceiling_never_lies_above_the_relevant_document(positive: float):
    """0.95 of a negative cosine would: -0.19 is above -0.2."""
    highest = highest_allowed(np.array([positive]), ceiling=0.95, margin=0.0)[0]
    assert highest <= positive
    assert (highest < positive) == (positive != 0)


def test_without_a_shared_word_bm25_mines_nothing():
    """A positive that BM25 scores 0 says that every document that it finds might be relevant."""
    assert chosen(pool([3.0, 2.0], positive=0.0)) == [-1] * 4


def test_relevant_documents_and_texts_that_repeat_are_left_out_and_counted():
    found = pool([0.6, 0.5, 0.4, 0.3, 0.2], positive=0.9, relevant=(1,), texts=[0, 1, 2, 0, 4])
    taken = choose_negatives(found, per_query=2, ceiling=0.95, margin=0.0)
    assert taken.rows.tolist() == [[0, 2]]
    assert taken.found == 5
    assert taken.dropped == {"relevant": 1, "ceiling": 0, "duplicate": 1, "not needed": 1}


def test_a_judge_is_asked_for_no_more_than_is_needed():
    asked: list[int] = []

    def judge(_: np.ndarray, documents: np.ndarray) -> np.ndarray:
        asked.extend(documents.tolist())
        return documents != 1

    found = pool([0.6, 0.5, 0.4, 0.3, 0.2], positive=0.9)
    taken = choose_negatives(found, per_query=2, ceiling=0.95, margin=0.0, judge=judge)
    assert taken.rows.tolist() == [[0, 2]]
    assert asked == [0, 1, 2]
    assert taken.dropped["filter"] == 1


def test_short_lists_are_filled_with_documents_that_are_not_relevant():
    rows = np.array([[7, -1, -1], [1, 2, 3]], dtype=np.int32)
    filled = fill(rows, lambda _: {0, 1, 2}, n_documents=8, seed=1)
    assert filled[1].tolist() == [1, 2, 3]
    assert filled[0, 0] == 7
    assert len(set(filled[0].tolist())) == 3
    assert set(filled[0].tolist()).isdisjoint({0, 1, 2})
    with pytest.raises(ValueError, match="too few"):
        fill(rows, lambda _: set(range(6)), n_documents=8, seed=1)


DOCUMENTS = sentences(60, seed=11, words=8)


def suite_of(folder: Path, candidates: str, *, model: Path, beir: Path) -> Path:
    return write_suite(
        folder / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates.static]
        model = "{model}"
        [candidates.bm25]
        kind = "bm25"
        {candidates}
        """,
    )


def tuned(negatives: str, *, name: str = "tuned") -> str:
    return f"""
        [candidates.{name}]
        from = "static"
        finetune = {{ data = "small:train", batch_size = 8, hard_negatives = {negatives} }}
        """


def mining_of(path: Path, store: Store, name: str = "tuned") -> MineNegatives:
    train = plan_of(path, store).planner.dense(name).model
    assert isinstance(train, Train)
    assert train.data.negatives is not None
    return train.data.negatives


def test_a_training_learns_from_negatives_that_its_parent_finds(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    path = suite_of(
        tmp_path, tuned("{ per_query = 2, range = [1, 20] }"), model=static_model, beir=beir
    )
    plan = run_suite(path, store)
    labels = [stage.label for stage in plan.stages]
    mined = labels.index("mine negatives for tuned with static on small:train")
    searched = labels.index("search with static on small:train")
    assert searched < mined < labels.index("fine-tune tuned")
    stage = mining_of(path, store)
    data = Examples(stage.pairs, stage).read(store)
    assert list(data.columns) == ["anchor", "positive", "negative_1", "negative_2"]
    for row in data.rows():
        assert len(set(row)) == len(row)
    meta = stage.stored(store).meta
    assert meta["pairs"] == len(stage.pairs) > 20
    assert meta["mined"] + meta["random"] == 2 * meta["pairs"]
    assert meta["found"] == 20 * meta["pairs"]
    assert meta["found"] == meta["mined"] + sum(meta["dropped"].values())


def test_the_results_and_the_reports_tell_what_each_rule_dropped(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    rules = tuned("{ per_query = 2, range = [1, 20] }")
    plan = run_suite(suite_of(tmp_path, rules, model=static_model, beir=beir), store)
    results = gather(plan)
    [mined] = results.mined
    assert (mined.candidate, mined.search) == ("tuned", "static on small:train")
    assert mined.found == mined.mined + sum(mined.dropped.values())
    sentence = mining_in_words(mined)
    assert f"{mined.mined:,} hard negatives of {mined.pairs:,} pairs" in sentence
    assert f"{mined.dropped['ceiling']:,} above the ceiling" in sentence
    assert markdown.plain(sentence) in markdown.render(results, gather_costs(plan))


def test_the_negatives_obey_the_rules(static_model: Path, beir: Path, tmp_path: Path, store: Store):
    """Each is found by the search at its ranks, and scores at most 0.9 of the relevant document."""
    rules = "{ per_query = 3, range = [2, 30], ceiling = 0.9 }"
    path = suite_of(tmp_path, tuned(rules), model=static_model, beir=beir)
    run_suite(path, store)
    stage = mining_of(path, store)
    run = stage.first.result(store)
    documents, queries = stage.first.space.read(store)  # type: ignore[attr-defined]
    cosines = queries.block(0, 40) @ documents.block(0, 60).T
    artifact = stage.stored(store)
    for pair, (count, rows) in enumerate(
        zip(artifact.array("mined"), artifact.array("negatives"), strict=True)
    ):
        query, own = stage._places[pair]
        for row in rows[:count].tolist():
            assert row in run.documents[query, 1:30]
            assert (
                cosines[query, row] <= cosines[query, own] - 0.1 * abs(cosines[query, own]) + 1e-6
            )
            assert row != own


def test_words_find_negatives_too(static_model: Path, beir: Path, tmp_path: Path, store: Store):
    rules = '{ candidate = "bm25", per_query = 2, range = [1, 40] }'
    path = suite_of(tmp_path, tuned(rules), model=static_model, beir=beir)
    plan = run_suite(path, store)
    assert any("with bm25 on small:train" in stage.label for stage in plan.stages)
    assert mining_of(path, store).stored(store).meta["mined"] > 20


def test_a_short_form_says_how_many(static_model: Path, beir: Path, tmp_path: Path, store: Store):
    path = suite_of(tmp_path, tuned("3"), model=static_model, beir=beir)
    stage = mining_of(path, store)
    assert (stage.spec.per_query, stage.spec.range, stage.spec.ceiling) == (3, [10, 100], 0.95)


def test_what_changes_the_negatives_changes_their_key_and_the_training_alone(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    rules: Mapping[str, str] = {
        "one": "2",
        "same": "{ per_query = 2, range = [10, 100], ceiling = 0.95 }",
        "named": '{ per_query = 2, candidate = "static" }',
        "more": "3",
        "lower": "{ per_query = 2, ceiling = 0.9 }",
        "wide": "{ per_query = 2, range = [5, 100] }",
        "margin": "{ per_query = 2, margin = 0.1 }",
        "words": '{ per_query = 2, candidate = "bm25" }',
    }
    text = "".join(tuned(each, name=name) for name, each in rules.items())
    path = suite_of(tmp_path, text, model=static_model, beir=beir)
    plan_of(path, store)
    run_suite(path, store)
    keys = {name: mining_of(path, store, name).key(store) for name in rules}
    assert keys["one"] == keys["same"] == keys["named"]
    assert len(set(keys.values())) == len(rules) - 2
    plan = plan_of(path, store)
    models = {name: plan.planner.dense(name).model for name in rules}
    trained = {name: model.key(store) for name, model in models.items() if isinstance(model, Train)}
    assert trained["one"] == trained["same"]
    assert trained["one"] != trained["more"]
    assert plan.left() == []


def test_duplicates_of_a_relevant_document_are_never_its_negatives(
    static_model: Path, tmp_path: Path, store: Store
):
    """A document that reads like an answer, but for case and spaces, is as near to its query."""
    answers = [text for text in DOCUMENTS if len(text) > 12]
    texts = {f"d{row:02}": text for row, text in enumerate(answers)}
    texts["x"] = f" {answers[0].upper()} "
    folder = write_beir(
        tmp_path / "small",
        documents=texts,
        queries={f"q{row:02}": text[:8] for row, text in enumerate(answers)},
        qrels={
            "train": [(f"q{row:02}", f"d{row:02}", 1) for row in range(20)],
            "test": [(f"q{row:02}", f"d{row:02}", 1) for row in range(20, len(answers))],
        },
    )
    rules = f"{{ per_query = 10, range = [1, {len(texts)}], ceiling = 2.0 }}"
    path = suite_of(tmp_path, tuned(rules), model=static_model, beir=folder)
    run_suite(path, store)
    stage = mining_of(path, store)
    pair = list(stage.pairs.columns["anchor"]).index(answers[0][:8].strip())
    assert texts["x"] not in stage.texts(store)[pair]
    assert stage.stored(store).meta["dropped"]["relevant"] > 20


def test_a_relevant_document_that_is_not_trained_on_is_no_negative_either(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    """Such as one that was left out because it gives away a scored query."""
    rules = "{ per_query = 20, range = [1, 60], ceiling = 1000.0 }"
    path = suite_of(tmp_path, tuned(rules), model=static_model, beir=beir)
    run_suite(path, store)
    stage = mining_of(path, store)
    hardest = stage.texts(store)[0][0]
    more = {
        "anchor": [*stage.pairs.columns["anchor"], stage.pairs.columns["anchor"][0]],
        "positive": [*stage.pairs.columns["positive"], hardest],
    }
    knowing = replace(stage, relevant=replace(stage.pairs, columns=more))
    knowing.run(Context(store=store))
    assert hardest not in knowing.texts(store)[0]


def test_a_cross_encoder_gives_a_second_opinion(
    static_model: Path, cross_encoder: Path, beir: Path, tmp_path: Path, store: Store
):
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    one = tuned("{ per_query = 2, range = [1, 20] }", name="one")
    rules = f'{{ per_query = 2, range = [1, 20], filter = {{ model = "{cross_encoder}" }} }}'
    path = suite_of(tmp_path, one + tuned(rules, name="two"), model=static_model, beir=beir)
    run_suite(path, store)
    without, judged = (mining_of(path, store, name) for name in ("one", "two"))
    assert without.key(store) != judged.key(store)
    meta = judged.stored(store).meta
    assert meta["dropped"]["filter"] > 0
    model, texts = CrossEncoder(str(cross_encoder), device="cpu"), judged.texts(store)
    asked: list[tuple[str, str]] = []
    starts = []
    for pair, count in enumerate(judged.stored(store).array("mined").tolist()):
        query, own = (judged.pairs.columns[name][pair] for name in ("anchor", "positive"))
        starts.append(len(asked))
        asked += [(query, text) for text in (own, *texts[pair][:count])]
    logits = model.predict(asked, activation_fn=Identity())
    shares = 1 / (1 + np.exp(-logits.astype(float)))
    for each in np.split(shares, starts[1:]):
        assert (each[1:] <= 0.95 * each[0] + 1e-5).all()


def test_pairs_that_are_no_collection_are_mined_among_their_own_documents(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    lines = [f'"{text[:8]}","{text}"\n' for text in DOCUMENTS[20:]]
    (tmp_path / "pairs.csv").write_text("query,document\n" + "".join(lines), "utf-8")
    path = suite_of(
        tmp_path,
        f"""
        [candidates.tuned]
        from = "static"
        [candidates.tuned.finetune]
        data = "faq"
        batch_size = 8
        hard_negatives = {{ per_query = 2, range = [1, 9] }}
        [training.faq]
        source = "pairs:{tmp_path}/pairs.csv"
        """,
        model=static_model,
        beir=beir,
    )
    run_suite(path, store)
    stage = mining_of(path, store)
    assert set(stage.collection.documents) == set(stage.pairs.columns["positive"])
    assert {text for mine in stage.texts(store) for text in mine} < set(DOCUMENTS[20:])


def test_part_of_the_examples_keeps_their_negatives_and_lies_within_a_larger_part(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    path = suite_of(tmp_path, tuned("2"), model=static_model, beir=beir)
    run_suite(path, store)
    stage = mining_of(path, store)
    whole = Examples(stage.pairs, stage)
    quarter, half = whole.part(1, 4), whole.part(1, 2)
    rows = [set(each.read(store).rows()) for each in (quarter, half, whole)]
    assert rows[0] < rows[1] < rows[2]
    assert [len(each) for each in (quarter, half)] == [len(whole) // 4, len(whole) // 2]
    assert len({each.key(store) for each in (quarter, half, whole)}) == 3


def test_more_negatives_than_documents_are_refused(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    path = suite_of(
        tmp_path, tuned("{ per_query = 60, range = [1, 60] }"), model=static_model, beir=beir
    )
    with pytest.raises(HarnessError, match="Lower per_query") as caught:
        run_suite(path, store)
    assert caught.value.exit_code is ExitCode.DATA


@pytest.mark.parametrize(
    ("negatives", "message"),
    [
        ("0", "must be at least 1, got 0"),
        ("true", "'finetune.hard_negatives' must be a table, got True"),
        ("{ range = [10, 5] }", "range = [10, 5] is not a range of ranks"),
        ("{ range = [0, 5] }", "range = [0, 5] is not a range of ranks"),
        ("{ range = [5] }", "must be of 2 or more entries"),
        ("{ range = [1, 3] }", "3 ranks in range = [1, 3] for per_query = 4"),
        ('{ candidate = "bm52" }', "no candidate 'bm52'. Did you mean 'bm25'?"),
        ('{ candidate = "both" }', "'both' does not search by itself"),
        ("{ celing = 0.9 }", "unknown key 'celing' in 'hard_negatives'. Did you mean 'ceiling'?"),
        ('{ candidate = "tuned" }', "derived from itself"),
    ],
)
def test_a_mistake_in_the_rules_is_told_with_its_fix(
    negatives: str, message: str, static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    both = '\n[candidates.both]\nfuse = ["bm25", "static"]\n'
    path = suite_of(tmp_path, tuned(negatives) + both, model=static_model, beir=beir)
    with pytest.raises(HarnessError) as caught:
        plan_of(path, store)
    assert message in str(caught.value)
    assert caught.value.exit_code is ExitCode.USAGE


def test_rows_with_their_own_contrast_take_no_mined_negatives(
    static_model: Path, beir: Path, tmp_path: Path, store: Store
):
    (tmp_path / "rows.csv").write_text(
        "query,document,negative\n"
        + "".join(",".join(DOCUMENTS[row : row + 3]) + "\n" for row in range(0, 60, 3)),
        "utf-8",
    )
    path = suite_of(
        tmp_path,
        f"""
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "rows", batch_size = 8, hard_negatives = 2 }}
        [training.rows]
        source = "triplets:{tmp_path}/rows.csv"
        """,
        model=static_model,
        beir=beir,
    )
    with pytest.raises(HarnessError, match="bring their own contrast"):
        plan_of(path, store)


def test_negatives_are_given_the_prompt_of_documents(
    bert_model: Path, beir: Path, tmp_path: Path, store: Store
):
    """The same training with the prompts written into the texts gives the same weights."""
    path = suite_of(
        tmp_path,
        tuned("{ per_query = 1, range = [1, 20] }").replace('"static"', '"bert"')
        + f'[candidates.bert]\nmodel = "{bert_model}"\n',
        model=bert_model,
        beir=beir,
    )
    run_suite(path, store)
    one = plan_of(path, store).planner.dense("tuned").model
    assert isinstance(one, Train)
    query, document = one.prompts
    data = one.data.read(store)
    texts = {
        name: [(query if name == "anchor" else document) + text for text in column]
        for name, column in data.columns.items()
    }
    other = replace(one, prompts=("", ""), data=Examples(replace(data, columns=texts)))
    other.run(Context(store=store))
    weights = [each.weights(store) for each in (one, other)]
    assert weights[0] is not None
    assert weights[1] is not None
    assert weights[0].key == weights[1].key
