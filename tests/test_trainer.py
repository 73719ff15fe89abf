from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PROCESSES
from conftest import WORDS, full_disk, plan_of, sentences, write_beir, write_suite

from harness.errors import ExitCode, HarnessError
from harness.models.source import Given
from harness.models.weights import find_weights
from harness.results.training import no_better, tuned_on
from harness.stage import Context
from harness.store import Store
from harness.suite.load import load_suite
from harness.suite.training import FinetuneSpec
from harness.training.checkpoints import Checkpoints
from harness.training.data import Origin, TrainingData, distinct
from harness.training.finetune import Train
from harness.training.mining import Examples
from harness.training.trainer import dev_evaluator, dev_sample, refuse_dev

HALF = len(WORDS) // 2


def pairs(count: int, *, seed: int) -> TrainingData:
    """Return queries in one vocabulary, each with the document that says it in another."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        words = draw.choice(HALF, 3, replace=False)
        query, document = (" ".join(WORDS[shift + word] for word in words) for shift in (0, HALF))
        rows.append((query, document))
    return distinct("pairs", rows, origin=Origin("task", read=count))


def labelled(count: int, *, label: float) -> TrainingData:
    rows = list(zip(sentences(count, seed=1), sentences(count, seed=2), strict=True))
    return distinct("labelled", rows, labels=[label] * count, origin=Origin("task", read=count))


def stage_of(model: Path, **options: Any) -> Train:
    usual: dict[str, Any] = {
        "name": "tuned",
        "parent": Given(find_weights(str(model))),
        "data": pairs(300, seed=1),
        "prompts": ("", ""),
        "max_length": None,
        "seed": 13,
    }
    recipe = {"data": "some:train", "batch_size": 32, **options.pop("recipe", {})}
    usual |= options
    usual["data"] = Examples(usual["data"])
    return Train(spec=FinetuneSpec(**recipe), **usual)


def meta_of(stage: Train, store: Store) -> dict[str, Any]:
    return dict(stage.stored(store).meta)


def files_of(stage: Train, store: Store) -> dict[str, bytes]:
    artifact = stage.stored(store)
    return {name: (artifact.path / name).read_bytes() for name in artifact.meta["files"]}


def is_clean(store: Store) -> bool:
    """Tell whether no file is left."""
    return not any(path.is_file() for path in (store.root / "staging").rglob("*"))


def test_the_checkpoint_that_did_best_on_dev_is_kept(static_model: Path, store: Store):
    # A rate that is far too high: the first steps help, the rest do harm.
    recipe = {"dev": "some:dev", "epochs": 6, "learning_rate": 0.05, "patience": 100}
    stage = stage_of(static_model, recipe=recipe, dev=pairs(80, seed=2))
    stage.run(Context(store=store))
    dev = meta_of(stage, store)["dev"]
    values = dict(dev["values"])
    assert dev["measure"] == "ndcg@10"
    assert dev["n"] == len(pairs(80, seed=2))
    assert dev["before"] == values[0]
    assert dev["best"] == max(values.values()) == values[dev["best_step"]]
    assert dev["best"] > dev["before"] + 0.2
    measured = dev_evaluator(pairs(80, seed=2), prompts=("", ""))
    from sentence_transformers import SentenceTransformer

    kept = SentenceTransformer(str(stage.stored(store).path), device="cpu")
    assert measured(kept)["cosine_ndcg@10"] == pytest.approx(dev["best"], abs=1e-6)


def test_max_steps_bounds_the_training_and_the_rows_that_it_reads(static_model: Path, store: Store):
    bounded, loose = (stage_of(static_model, recipe={"max_steps": most}) for most in (4, 400))
    for stage in (bounded, loose):
        stage.run(Context(store=store))
    assert [meta_of(bounded, store)[key] for key in ("steps", "planned_steps", "rows")] == [
        4,
        4,
        128,
    ]
    every = -(-len(pairs(300, seed=1)) // 32)
    assert meta_of(loose, store)["steps"] == every
    assert meta_of(loose, store)["rows"] == len(pairs(300, seed=1))


def test_a_training_that_does_harm_on_dev_says_so(static_model: Path, store: Store):
    noise = [(a, b) for a, b in zip(sentences(300, seed=1), sentences(300, seed=2), strict=True)]
    same = [(text, f"{text} {text}") for text in sentences(80, seed=3)]
    harmed, helped = (
        stage_of(
            static_model,
            recipe={"dev": "some:dev", "learning_rate": 0.05},
            data=distinct("pairs", rows, origin=Origin("data")),
            dev=distinct("pairs", held, origin=Origin("dev")),
        )
        for rows, held in (
            (noise, same),
            (list(pairs(300, seed=1).rows()), list(pairs(80, seed=2).rows())),
        )
    )
    for stage in (harmed, helped):
        stage.run(Context(store=store))
    told = list(no_better("tuned", [harmed, helped], store))
    assert len(told) == 1
    assert "did not improve it in 1 of 2 trainings on 'some:dev'" in told[0]
    assert not list(no_better("tuned", [helped], store))


def test_training_stops_when_dev_no_longer_improves(static_model: Path, store: Store):
    # What is trained has nothing to do with dev, so that dev can only lose.
    data = distinct(
        "pairs",
        [(a, b) for a, b in zip(sentences(300, seed=1), sentences(300, seed=2), strict=True)],
        origin=Origin("noise"),
    )
    own = [(text, f"{text} {text}") for text in sentences(80, seed=3)]
    recipe = {"dev": "some:dev", "epochs": 10, "learning_rate": 0.05, "patience": 2}
    stage = stage_of(
        static_model, recipe=recipe, data=data, dev=distinct("pairs", own, origin=Origin("dev"))
    )
    stage.run(Context(store=store))
    meta = meta_of(stage, store)
    assert meta["steps"] < meta["planned_steps"]
    assert len(meta["dev"]["values"]) <= 1 + 1 + 2 + 1
    assert is_clean(store)


@pytest.mark.parametrize("shape", ["labelled", "scored"])
def test_labelled_and_scored_data_can_be_dev(shape: Any, static_model: Path, store: Store):
    rows = list(pairs(60, seed=2).rows())
    mixed = [*rows, *((query, rows[place - 9][1]) for place, (query, _) in enumerate(rows))]
    dev = distinct(shape, mixed, labels=[1.0] * len(rows) + [0.0] * len(rows), origin=Origin("dev"))
    recipe = {"dev": "some:dev", "epochs": 3, "learning_rate": 0.05}
    stage = stage_of(static_model, recipe=recipe, dev=dev)
    stage.run(Context(store=store))
    told = meta_of(stage, store)["dev"]
    names = {"labelled": "average precision", "scored": "Spearman correlation"}
    assert told["measure"] == names[shape]
    assert told["best"] > told["before"] + 0.2


def test_dev_data_that_can_not_be_measured_are_refused_and_large_ones_sampled():
    texts = distinct("texts", [("ba",)], origin=Origin("t"))
    with pytest.raises(HarnessError, match="dev: 't' has texts, which has no measure"):
        refuse_dev("t", texts)
    many = distinct("texts", [(f"text {row}",) for row in range(1500)], origin=Origin("t"))
    assert len(dev_sample(many, seed=1)) == 1000
    assert (
        dev_sample(many, seed=1).key == dev_sample(many, seed=1).key != dev_sample(many, seed=2).key
    )


def test_dev_is_part_of_the_key_and_so_are_the_patience_and_the_evaluations(
    static_model: Path, store: Store
):
    dev = pairs(40, seed=2)
    stages = [
        stage_of(static_model),
        stage_of(static_model, dev=dev, recipe={"dev": "a:dev"}),
        stage_of(static_model, dev=pairs(41, seed=2), recipe={"dev": "a:dev"}),
        stage_of(static_model, dev=dev, recipe={"dev": "a:dev", "patience": 1}),
        stage_of(static_model, dev=dev, recipe={"dev": "a:dev", "evaluations": 2}),
    ]
    assert len({stage.key(store) for stage in stages}) == len(stages)
    renamed = stage_of(static_model, dev=dev, recipe={"dev": "b:dev", "patience": 3})
    assert renamed.key(store) == stages[1].key(store)


def test_a_loss_that_is_no_number_stops_training(static_model: Path, store: Store):
    recipe = {"learning_rate": 1e38, "epochs": 30, "dev": "some:dev"}
    stage = stage_of(static_model, recipe=recipe, dev=pairs(20, seed=2))
    with pytest.raises(
        HarnessError, match=r"diverged by step \d+, .*Lower learning_rate"
    ) as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert not stage.is_done(store)
    assert is_clean(store)


def test_embeddings_that_collapse_stop_training(bert_model: Path, store: Store):
    # All pairs are said to be the same, and nothing to be different.
    recipe = {"loss": "contrastive", "learning_rate": 0.01, "epochs": 20}
    stage = stage_of(bert_model, recipe=recipe, data=labelled(200, label=1.0))
    with pytest.raises(HarnessError, match="embeddings collapsed by step") as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert "check that the data hold negatives" in str(caught.value)
    assert not stage.is_done(store)
    assert is_clean(store)


def test_a_disk_that_fills_up_at_a_checkpoint_is_one_error(static_model: Path, store: Store):
    stage = stage_of(static_model, checkpoint_seconds=0.0)
    with full_disk(after_bytes=2000), pytest.raises(HarnessError, match="cannot write") as caught:
        stage.run(Context(store=store))
    assert caught.value.exit_code is ExitCode.STAGE
    assert not stage.is_done(store)


def train(kind: str, model: Path, root: Path) -> None:
    """Train in a process that is killed."""
    resumed(kind, model).run(Context(store=Store(root)))


def resumed(kind: str, model: Path) -> Train:
    """Return a training of several epochs that writes a checkpoint at every step."""
    recipe: dict[str, Any] = {"epochs": 2, "learning_rate": 5e-3}
    options: dict[str, Any] = {}
    match kind:
        case "dev":
            recipe |= {"dev": "some:dev", "patience": 20}
            options["dev"] = pairs(40, seed=2)
        case "shuffled":
            recipe |= {"loss": "cosent", "learning_rate": 2e-4}
            options["data"] = distinct(
                "scored",
                list(pairs(200, seed=1).rows()),
                labels=[row % 7 / 7 for row in range(len(pairs(200, seed=1)))],
                origin=Origin("task"),
            )
    return stage_of(model, recipe=recipe, checkpoint_seconds=0.0, **options)


@pytest.mark.parametrize(
    "kind",
    # One with a dev set does all that one without does.
    ["dev", "shuffled", pytest.param("no dev", marks=pytest.mark.slow)],
)
def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    kind: str, bert_model: Path, store: Store, tmp_path: Path
):
    stage = resumed(kind, bert_model)
    whole = Store(tmp_path / "whole")
    stage.run(Context(store=whole))
    key = stage.ready_key(store)
    process = PROCESSES.Process(target=train, args=(kind, bert_model, store.root))
    process.start()
    checkpoints = Checkpoints(store, key, every_seconds=0.0)
    steps = meta_of(stage, whole)["planned_steps"]
    while process.is_alive():
        last = checkpoints.last()
        if last is not None and last.step > steps // 2:
            process.kill()
            process.join()
            break
        time.sleep(0.005)
    assert process.exitcode == -signal.SIGKILL
    assert not stage.is_done(store)
    went_on_at = checkpoints.last()
    assert went_on_at is not None
    assert steps > went_on_at.step > steps // 2
    stage.run(Context(store=store))
    assert files_of(stage, store) == files_of(stage, whole)
    assert meta_of(stage, store)["seconds"] > went_on_at.seconds
    assert meta_of(stage, store)["dev"] == meta_of(stage, whole)["dev"]
    assert is_clean(store)


def test_a_checkpoint_that_was_not_written_to_its_end_is_not_gone_on_from(store: Store):
    checkpoints = Checkpoints(store, "key", every_seconds=60)
    state = json.dumps({"best_model_checkpoint": None})
    for step in (5, 10, 100):
        folder = checkpoints.folder / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text(state)
        if step < 100:
            (folder / "whole.json").write_text('{"seconds": 2.5}')
    last = checkpoints.last()
    assert last is not None
    assert (last.step, last.seconds) == (10, 2.5)
    lost = json.dumps({"best_model_checkpoint": str(checkpoints.folder / "checkpoint-7")})
    (checkpoints.folder / "checkpoint-10" / "trainer_state.json").write_text(lost)
    last = checkpoints.last()
    assert last is not None
    assert last.step == 5


@pytest.mark.parametrize("name", ["optimizer.pt", "trainer_state.json", "whole.json"])
def test_a_checkpoint_with_a_flipped_bit_is_not_resumed_and_removed(
    name: str, store: Store, caplog: pytest.LogCaptureFixture
):
    checkpoints = Checkpoints(store, "key", every_seconds=60)
    for step in (5, 10):
        folder = checkpoints.folder / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text('{"best_model_checkpoint": null}')
        (folder / "optimizer.pt").write_bytes(bytes(100))
        checkpoints.seal(step)
    last = checkpoints.last()
    assert last is not None
    assert last.step == 10
    damaged = last.path / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    last = checkpoints.last()
    assert last is not None
    assert last.step == 5
    assert "checkpoint-10 is damaged; training continues from an earlier" in caplog.text
    checkpoints.start(last)
    assert [path.name for path in checkpoints.folder.glob("checkpoint-*")] == ["checkpoint-5"]


def test_the_suite_refuses_keys_that_the_loss_does_not_read(
    tmp_path: Path, static_model: Path, beir: Path
):
    recipes = {
        "margin": 'loss = "cosent", margin = 0.1',
        "guide": 'guide = "static"',
        "no guide": 'loss = "gist"',
        "cached": "mini_batch_size = 4",
        "patience": "patience = 2",
        "same": 'dev = "small:train"',
        "cut curve": "max_steps = 9, learning_curve = true",
        "scored": 'dev = "small:test"',
        "dev": 'dev = "small:dve"',
        "unknown": 'loss = "gist", guide = "statik"',
        "wordy": 'loss = "gist", guide = "words"',
    }
    lines = [
        f"[candidates.'{name}']\nfrom = 'static'\nfinetune = {{ data = 'small:train', {text} }}\n"
        for name, text in recipes.items()
    ]
    head = f"baseline = 'static'\n[collections.small]\nsource = 'beir:{beir}'\n"
    head += f"[candidates.static]\nmodel = '{static_model}'\n[candidates.words]\nkind = 'bm25'\n"
    suite = write_suite(tmp_path / "suite.toml", head + "".join(lines))
    with pytest.raises(HarnessError) as caught:
        load_suite(suite)
    assert caught.value.exit_code is ExitCode.USAGE
    told = dict(
        problem.split("candidate ", 1)[1].split(": ", 1) for problem in caught.value.problems
    )
    assert told == {
        "'margin'": (
            "'margin' belongs to loss 'contrastive' or 'triplet', got 'cosent'. Remove it."
        ),
        "'guide'": "'guide' belongs to loss 'gist', got 'multiple-negatives'. Remove it.",
        "'no guide'": "loss 'gist' needs a guide. Name a candidate: guide = \"…\".",
        "'cached'": (
            "'mini_batch_size' belongs to loss 'cached-multiple-negatives', got "
            "'multiple-negatives'. Remove it."
        ),
        "'patience'": "'patience' belongs to 'dev', which is absent. Add dev or remove it.",
        "'same'": "dev: 'small:train' is also trained on. Use other data for early stopping.",
        "'cut curve'": (
            "'learning_curve' trains on growing parts of the data, each to its end, but "
            "'max_steps' stops early. Remove one."
        ),
        "'scored'": (
            "dev: 'small:test' is the split that 'small' is scored on. Use another split."
        ),
        "'unknown'": "guide: no candidate 'statik'. Did you mean 'static'?",
        "'wordy'": "guide: 'words' has no weights. Name a 'model' or 'finetune' candidate.",
    }


def test_a_split_that_another_collection_is_scored_on_is_refused(tmp_path: Path, beir: Path):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "a"
        [collections.one]
        source = "beir:{beir}"
        [collections.two]
        source = "beir:{beir}"
        split = "train"
        [candidates.a]
        model = "org/model"
        [candidates.b]
        from = "a"
        finetune = {{ data = "one:train" }}
        """,
    )
    with pytest.raises(HarnessError, match="'one:train' is the split that 'two' is scored on"):
        load_suite(suite)


def test_a_loss_that_does_not_fit_the_data_is_told_with_its_line(
    tmp_path: Path, static_model: Path, store: Store
):
    write_beir(
        tmp_path / "small",
        documents={"d": "ba be", "e": "bi"},
        queries={"q": "ba", "r": "be", "s": "bu"},
        qrels={"train": [("q", "d", 1)], "test": [("r", "e", 1), ("s", "e", 1)]},
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
        finetune = {{ data = "small:train", loss = "cosent" }}
        """,
    )
    with pytest.raises(HarnessError) as caught:
        plan_of(suite, store)
    assert caught.value.exit_code is ExitCode.USAGE
    assert caught.value.problems == [
        (
            f"{suite}:8: candidate 'tuned': finetune: loss 'cosent' learns from scored or "
            "labelled, but 'small:train' has pairs. Name other data, or take "
            "'multiple-negatives' or 'cached-multiple-negatives' or "
            "'symmetric-multiple-negatives' or 'gist'."
        )
    ]


def test_what_is_made_of_a_candidate_was_chosen_on_the_same_data(
    tmp_path: Path, static_model: Path, beir: Path
):
    suite = load_suite(
        write_suite(
            tmp_path / "suite.toml",
            f"""
            baseline = "static"
            collections.small.source = "beir:{beir}"
            candidates.static.model = "{static_model}"
            candidates.words.kind = "bm25"
            [candidates.tuned]
            from = "static"
            finetune = {{ data = "small:train", dev = "small:dev" }}
            [candidates.short]
            from = "tuned"
            truncate = 8
            [candidates.halfway]
            from = "tuned"
            interpolate = 0.5
            [candidates.both]
            fuse = ["words", "short"]
            [candidates.cascade]
            from = "words"
            rerank = {{ candidate = "tuned", depth = 10 }}
            """,
        )
    )
    untouched = {"static", "words"}
    assert {name for name in suite.candidates if not tuned_on(suite, name)} == untouched
    made = suite.candidates.keys() - untouched
    assert {tuple(tuned_on(suite, name)) for name in made} == {("small:dev",)}


def test_dev_rows_that_are_trained_on_are_told(tmp_path: Path, static_model: Path, beir: Path):
    rows = "".join(f"query {n},a document that says {n}\n" for n in range(20))
    (tmp_path / "pairs.csv").write_text(f"query,document\n{rows}")
    (tmp_path / "dev.csv").write_text(
        "query,document\nQuery 3,a document that says 3\nanother,text of its own\n"
    )
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        training.more.source = "pairs:{tmp_path}/pairs.csv"
        training.held.source = "pairs:{tmp_path}/dev.csv"
        candidates.static.model = "{static_model}"
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "more", dev = "held", batch_size = 8 }}
        """,
    )
    told = plan_of(suite, Store(tmp_path / "store")).planner.warnings
    assert any("1 of 2 rows of dev 'held' are also trained on" in warning for warning in told)
