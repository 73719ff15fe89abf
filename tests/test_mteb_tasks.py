"""Tasks of mteb as collections: the score of `mteb.evaluate`, and what is refused."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import harness
from conftest import plan_of, run_suite, sentences

from harness.collection.load import load_raw
from harness.collection.raw import PLAIN
from harness.collection.remembered import read_raw
from harness.errors import ExitCode, HarnessError
from harness.store import Store
from harness.suite.mteb_tasks import main_metric

DOCUMENTS = sentences(60, seed=31, words=8)
QUERIES = sentences(24, seed=32, words=4)

HEAD = """
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata


def metadata(name, **changed):
    facts = dict(
        name=name, description="Made for a test.", type="Retrieval", category="t2t",
        dataset={"path": "none", "revision": "none"}, eval_splits=["test"],
        eval_langs=["eng-Latn"], main_score="ndcg_at_10",
    )
    return TaskMetadata(**{**facts, **changed})


class Small(AbsTaskRetrieval):
    metadata = metadata("Small", prompt={"query": "Find the page that answers"})

    def load_data(self, num_proc=None, *, timer=None, **kwargs):
        self.dataset = {}
        for subset in self.metadata.hf_subsets:
            self.dataset[subset] = {split: self.part() for split in self.metadata.eval_splits}
        self.data_loaded = True
"""


def write_tasks(folder: Path, text: str = "") -> Path:
    """Write a file of tasks over the same texts and judgements, and return it."""
    draw = np.random.default_rng(33)
    judged = {
        f"q{row:02}": {f"d{int(each):02}": int(draw.integers(0, 3)) for each in chosen}
        | {f"d{int(chosen[0]):02}": 2}
        for row in range(len(QUERIES))
        for chosen in [draw.choice(len(DOCUMENTS), 4, replace=False)]
    }
    lists = {
        query: list(dict.fromkeys([*mine, *(f"d{int(each):02}" for each in draw.choice(60, 12))]))
        for query, mine in judged.items()
    }
    part = f"""
    def part(self):
        return {{
            "corpus": Dataset.from_dict({{
                "id": [f"d{{row:02}}" for row in range(60)],
                "title": ["bo" if row % 3 == 0 else "" for row in range(60)],
                "text": {DOCUMENTS!r},
            }}),
            "queries": Dataset.from_dict({{
                "id": [f"q{{row:02}}" for row in range({len(QUERIES)})],
                "text": {QUERIES!r},
            }}),
            "relevant_docs": {judged!r},
            "top_ranked": self.lists,
        }}

    lists = None


LISTS = {lists!r}
"""
    path = folder / "tasks.py"
    path.write_text(HEAD + part + textwrap.dedent(text), "utf-8")
    return path


RERANKING = """
class {name}(Small):
    metadata = metadata("{name}", type="Reranking", main_score="{main}")
    lists = LISTS
"""


def write_task_suite(path: Path, tasks: Sequence[str], *, candidates: str, metrics: str) -> Path:
    """Write a suite with a collection for each task, and return it."""
    places = "".join(
        f'[collections.{name.replace("/", "-")}]\nsource = "mteb:tasks.py:{name}"\n'
        for name in tasks
    )
    path.write_text(f'name = "tasks"\nmetrics = {metrics}\n{candidates}{places}', "utf-8")
    return path


def evaluate(model: Any, folder: Path, task: str) -> dict[str, Any]:
    """Return the scores of `mteb.evaluate`."""
    import mteb

    from harness.models.own import module_of

    made = getattr(module_of(folder / "tasks.py"), task)()
    found = mteb.evaluate(model, [made], cache=None, show_progress_bar=False)
    (scores,) = found.task_results[0].scores["test"]
    return dict(scores)


@pytest.fixture(scope="module")
def biencoder(bert_model: Path) -> Any:
    """Return the small model as sentence-transformers loads it."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(bert_model), device="cpu")


BOTH = """baseline = "bm25"
[candidates.bm25]
kind = "bm25"
language = "none"
[candidates.dense]
model = "{model}"
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "main"),
    [("Small", "ndcg@10"), ("ByMap", "map@1000"), ("ByNdcg", "ndcg@10"), ("ByRecall", "recall@10")],
)
def test_a_task_has_the_main_score_of_mteb(
    tmp_path: Path, store: Store, bert_model: Path, biencoder: Any, name: str, main: str
) -> None:
    mains = {"ByMap": "map_at_1000", "ByNdcg": "ndcg_at_10", "ByRecall": "recall_at_10"}
    more = "".join(RERANKING.format(name=each, main=text) for each, text in mains.items())
    write_tasks(tmp_path, more)
    candidates = BOTH.format(model=bert_model)
    path = write_task_suite(tmp_path / "s.toml", [name], candidates=candidates, metrics='["mrr@5"]')
    plan = run_suite(path, store)
    assert any(
        f"is {main}, which is not among the metrics" in each for each in plan.planner.warnings
    )
    theirs = evaluate(biencoder, tmp_path, name)
    ours = plan.scored["dense", name].result(store).values[main]
    assert len(ours) == len(QUERIES)
    # mteb rounds its means over queries to five digits.
    assert round(float(ours.mean()), 5) == pytest.approx(theirs["main_score"], abs=1e-6)
    mrr = plan.scored["dense", name].result(store).values["mrr@5"]
    assert float(mrr.mean()) == pytest.approx(theirs["mrr_at_5"], abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_a_cross_encoder_orders_the_lists_as_in_mteb(
    tmp_path: Path, store: Store, bert_model: Path, cross_encoder: Path
) -> None:
    from sentence_transformers import CrossEncoder

    write_tasks(tmp_path, RERANKING.format(name="Lists", main="map_at_1000"))
    candidates = f"""{BOTH.format(model=bert_model)}
[candidates.reranked]
from = "bm25"
rerank = {{ model = "{cross_encoder}", depth = 20 }}
"""
    metrics = '["map@1000", "ndcg@10"]'
    path = write_task_suite(tmp_path / "s.toml", ["Lists"], candidates=candidates, metrics=metrics)
    plan = run_suite(path, store)
    theirs = evaluate(CrossEncoder(str(cross_encoder), device="cpu"), tmp_path, "Lists")
    ours = plan.scored["reranked", "Lists"].result(store).values
    assert round(float(ours["map@1000"].mean()), 5) == pytest.approx(theirs["main_score"], abs=1e-6)
    assert round(float(ours["ndcg@10"].mean()), 5) == pytest.approx(theirs["ndcg_at_10"], abs=1e-6)


EVERY_KIND = """
[candidates.narrow]
from = "dense"
truncate = 8
[candidates.codes]
from = "dense"
quantize = "int8"
[candidates.sparse]
sparse = "{sparse}"
[candidates.late]
multi_vector = "{late}"
[candidates.fused]
fuse = ["bm25", "dense"]
[candidates.shallow]
from = "bm25"
rerank = {{ candidate = "dense", depth = 3 }}
[candidates.file]
run = "run.txt"
"""


def test_every_kind_ranks_the_documents_of_the_list_and_no_other(
    tmp_path: Path, store: Store, bert_model: Path, sparse_model: Path, multi_vector_model: Path
) -> None:
    write_tasks(tmp_path, RERANKING.format(name="Lists", main="ndcg_at_10"))
    run = "".join(
        f"q{query:02} Q0 d{row:02} 0 {60 - row} run\n" for query in range(24) for row in range(60)
    )
    (tmp_path / "run.txt").write_text(run)
    candidates = BOTH.format(model=bert_model)
    candidates += EVERY_KIND.format(sparse=sparse_model, late=multi_vector_model)
    path = tmp_path / "s.toml"
    write_task_suite(path, ["Lists"], candidates=candidates, metrics='["ndcg@10"]')
    plan = run_suite(path, store)
    lists = plan.collections["Lists"].judgements.shortlists
    assert lists is not None
    for name in plan.suite.candidates:
        run_of = plan.scored[name, "Lists"].run_stage.result(store)
        ranked = [sorted(row[row >= 0].tolist()) for row in run_of.documents]
        assert ranked == [row[row >= 0].tolist() for row in lists], name
    assert "lists to rank of 'Lists' hold up to" in " ".join(plan.planner.warnings)


@pytest.mark.parametrize(
    "kind",
    [
        'from = "dense"\nindex = { type = "hnsw" }',
        'from = "dense"\nquantize = "int8"\nrescore = 4',
        'retriever = { command = "cat", version = "1" }',
    ],
)
def test_what_searches_a_whole_corpus_is_refused_where_lists_are_ranked(
    tmp_path: Path, store: Store, bert_model: Path, kind: str
) -> None:
    write_tasks(tmp_path, RERANKING.format(name="Lists", main="ndcg_at_10"))
    candidates = f"{BOTH.format(model=bert_model)}[candidates.whole]\n{kind}\n"
    path = tmp_path / "s.toml"
    write_task_suite(path, ["Lists"], candidates=candidates, metrics='["ndcg@10"]')
    with pytest.raises(HarnessError, match=r"'whole': it searches a whole corpus, and \[coll"):
        plan_of(path, store)


MORE = """
class Instructed(Small):
    metadata = metadata("Instructed")

    def part(self):
        part = super().part()
        texts = [f"ma me {'mi ' * (row % 5)}" for row in range(24)]
        part["queries"] = part["queries"].add_column("instruction", texts)
        return part


class Identical(Small):
    metadata = metadata("Identical")
    ignore_identical_ids = True

    def part(self):
        part = super().part()
        part["corpus"] = part["corpus"].map(lambda row: {"id": row["id"].replace("d1", "q1")})
        part["relevant_docs"] = {
            query: {key.replace("d1", "q1"): grade for key, grade in grades.items()}
            for query, grades in part["relevant_docs"].items()
        }
        return part


class Languages(Small):
    metadata = metadata(
        "Languages", eval_langs={"en": ["eng-Latn"], "de": ["deu-Latn"]},
        eval_splits=["dev", "eval"],
    )


class OneSplit(Small):
    metadata = metadata("OneSplit", eval_splits=["dev"])


class Unrelated(Small):
    metadata = metadata("Unrelated")

    def part(self):
        part = super().part()
        part["relevant_docs"]["q00"] = {"d00": 0}
        return part


class Changed(Small):
    metadata = metadata("Changed", type="InstructionReranking", main_score="p-MRR")


class Broken(Small):
    metadata = metadata("Broken")

    def part(self):
        raise OSError("the share is not mounted")


class Astray(Small):
    metadata = metadata("Astray", type="Reranking")
    lists = {**LISTS, "q01": ["d01", "x"]}
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Instructed", "Identical"])
def test_instructions_and_identical_ids_are_those_of_mteb(
    tmp_path: Path, store: Store, bert_model: Path, biencoder: Any, name: str
) -> None:
    write_tasks(tmp_path, MORE)
    candidates = BOTH.format(model=bert_model)
    path = tmp_path / "s.toml"
    write_task_suite(path, [name], candidates=candidates, metrics='["ndcg@10"]')
    plan = run_suite(path, store)
    theirs = evaluate(biencoder, tmp_path, name)["main_score"]
    ours = plan.scored["dense", name].result(store).values["ndcg@10"]
    assert round(float(ours.mean()), 5) == pytest.approx(theirs, abs=1e-6)


def raw_of(folder: Path, task: str, split: str | None = None) -> Any:
    how = PLAIN._replace(split=split)
    return load_raw(f"mteb:{folder / 'tasks.py'}:{task}", how)


def test_the_split_is_the_only_one_or_has_to_be_named(tmp_path: Path) -> None:
    write_tasks(tmp_path, MORE)
    assert list(raw_of(tmp_path, "OneSplit").splits) == ["dev"]
    assert list(raw_of(tmp_path, "Languages/de", "eval").splits) == ["eval"]
    with pytest.raises(HarnessError, match=r"mteb scores 'dev', 'eval', not 'test'. Set split"):
        raw_of(tmp_path, "Languages/de")


def test_a_subset_has_its_languages_and_has_to_be_named(tmp_path: Path) -> None:
    write_tasks(tmp_path, MORE)
    task = raw_of(tmp_path, "Languages/de", "dev").task
    assert (task.name, task.subset, task.languages) == ("Languages", "de", ("deu-Latn",))
    with pytest.raises(HarnessError, match=r"it has the subsets de, en. Name one: mteb:.*/en"):
        raw_of(tmp_path, "Languages", "dev")
    with pytest.raises(HarnessError, match=r"no subset 'dee', got de, en. Did you mean 'de'?"):
        raw_of(tmp_path, "Languages/dee", "dev")


def test_queries_to_which_nothing_is_relevant_are_counted_with_mtebs_factor(tmp_path: Path) -> None:
    write_tasks(tmp_path, MORE)
    (note,) = raw_of(tmp_path, "Unrelated").notes
    assert "mteb scores 1 of 24 queries 0" in note
    assert "times 23 / 24." in note


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("mteb:SciFacts", "not found. Did you mean: 'SciFact'?"),
        ("mteb:tasks.py:Smal", "has no task of mteb named 'Smal'. Did you mean 'Small'?"),
        ("mteb:absent.py:Small", "cannot import"),
        ("mteb:no_such_module:Small", "cannot import 'no_such_module'"),
        ("mteb:STSBenchmark", "of the type STS and has no queries. Name it in [tasks.<name>]"),
        ("mteb:Banking77Classification", "not a retrieval task. Score it by mteb.evaluate."),
        ("mteb:CQADupstackRetrieval", "it is an average over tasks ("),
        ("mteb:tasks.py:Changed", "mteb scores it by 'p-MRR', which is not computed here."),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_search_is_refused_in_one_sentence(
    tmp_path: Path, store: Store, source: str, said: str
) -> None:
    write_tasks(tmp_path, MORE)
    candidates = 'baseline = "bm25"\n[candidates.bm25]\nkind = "bm25"\n'
    (tmp_path / "s.toml").write_text(
        f'name = "s"\nmetrics = ["mrr@5"]\n{candidates}[collections.c]\nsource = "{source}"\n'
    )
    with pytest.raises(HarnessError, match=re.escape(said)) as error:
        plan_of(tmp_path / "s.toml", store)
    assert len(error.value.problems) == 1
    assert error.value.exit_code is ExitCode.USAGE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("mteb:SciFact", "Unset HF_HUB_OFFLINE to fetch it, or copy the cache of a machine"),
        ("mteb:{folder}/tasks.py:Broken", "load_data fails, got the share is not mounted. Fix"),
        ("mteb:{folder}/tasks.py:Astray", "name 1 that the corpus lacks (x). Correct the"),
    ],
)
def test_data_that_cannot_be_had_are_one_error(
    tmp_path: Path, source: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    write_tasks(tmp_path, MORE)
    with pytest.raises(HarnessError, match=re.escape(said)) as error:
        load_raw(source.format(folder=tmp_path))
    assert error.value.exit_code is ExitCode.DATA


def test_a_task_that_mteb_knows_is_loaded_once(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mteb

    from harness.models.own import module_of

    made = module_of(write_tasks(tmp_path, RERANKING.format(name="Lists", main="map_at_10")))
    monkeypatch.setattr(mteb, "get_task", lambda _: made.Lists())
    first = read_raw("mteb:Lists", store=store)
    monkeypatch.setattr(mteb, "get_task", lambda _: pytest.fail("asked again"))
    again = read_raw("mteb:Lists", store=store)
    assert again.task == first.task
    assert again.task is not None
    assert str(main_metric(again.task)) == "map@10"
    assert again.splits["test"].shortlists == first.splits["test"].shortlists


SCORED = """
import numpy as np
from datasets import DatasetDict
from mteb.abstasks.clustering import AbsTaskClustering
from mteb.abstasks.clustering_legacy import AbsTaskClusteringLegacy
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.sts import AbsTaskSTS


class InMemory:
    def load_data(self, num_proc=None, *, timer=None, **kwargs):
        self.dataset = {"default": DatasetDict({"test": Dataset.from_dict(self.columns())})}
        self.data_loaded = True


class Similar(InMemory, AbsTaskSTS):
    metadata = metadata("Similar", type="STS", main_score="cosine_spearman")

    def columns(self):
        return {"sentence1": DOCUMENTS[:30], "sentence2": DOCUMENTS[30:], "score": GRADES}


class Pairs(InMemory, AbsTaskPairClassification):
    metadata = metadata("Pairs", type="PairClassification", main_score="max_ap")

    def columns(self):
        labels = [int(grade > 2.5) for grade in GRADES]
        return {"sentence1": DOCUMENTS[:30], "sentence2": DOCUMENTS[30:], "labels": labels}


class Clusters(InMemory, AbsTaskClustering):
    metadata = metadata("Clusters", type="Clustering", main_score="v_measure")
    max_fraction_of_documents_to_embed = None
    max_document_to_embed = 50
    max_documents_per_cluster = 40

    def columns(self):
        return {"sentences": DOCUMENTS, "labels": [f"c{row % 4}" for row in range(60)]}


class Sets(InMemory, AbsTaskClusteringLegacy):
    metadata = metadata("Sets", type="Clustering", main_score="v_measure")

    def columns(self):
        parts = [DOCUMENTS[:30], DOCUMENTS[30:]]
        return {"sentences": parts, "labels": [[f"c{row % 3}" for row in range(30)]] * 2}
"""


def write_scored(folder: Path) -> Path:
    """Write a file of tasks that are no search, and return it."""
    grades = np.random.default_rng(34).uniform(0, 5, 30).round(2).tolist()
    return write_tasks(folder, f"DOCUMENTS = {DOCUMENTS!r}\nGRADES = {grades!r}\n{SCORED}")


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_search_has_the_main_score_of_mteb(
    tmp_path: Path, store: Store, bert_model: Path, biencoder: Any
) -> None:
    write_scored(tmp_path)
    names = ("Similar", "Pairs", "Clusters", "Sets")
    candidates = BOTH.format(model=bert_model)
    path = tmp_path / "s.toml"
    write_task_suite(path, ["Small"], candidates=candidates, metrics='["ndcg@10"]')
    with path.open("a") as file:
        file.writelines(f'[tasks.{name}]\nsource = "mteb:tasks.py:{name}"\n' for name in names)
    plan = run_suite(path, store)
    for name in names:
        theirs = evaluate(biencoder, tmp_path, name)["main_score"]
        assert plan.tasks["dense", name].result(store) == pytest.approx(theirs, abs=1e-6), name
    assert "[tasks]: no score for 'bm25'" in " ".join(plan.planner.warnings)


@pytest.mark.filterwarnings("ignore")
def test_shorter_vectors_and_codes_are_scored_as_mteb_scores_them(
    tmp_path: Path, store: Store, bert_model: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    write_scored(tmp_path)
    candidates = f"""{BOTH.format(model=bert_model)}
[candidates.narrow]
from = "dense"
truncate = 8
[candidates.codes]
from = "dense"
quantize = "int8"
"""
    path = tmp_path / "s.toml"
    write_task_suite(path, ["Small"], candidates=candidates, metrics='["ndcg@10"]')
    with path.open("a") as file:
        file.write('[tasks.similar]\nsource = "mteb:tasks.py:Similar"\n')
    plan = run_suite(path, store)
    narrow = SentenceTransformer(str(bert_model), device="cpu", truncate_dim=8)
    theirs = evaluate(narrow, tmp_path, "Similar")["main_score"]
    scores = {name: stage.result(store) for (name, _), stage in plan.tasks.items()}
    assert list(scores) == ["dense", "narrow", "codes"]
    assert scores["narrow"] == pytest.approx(theirs, abs=1e-6)
    assert scores["codes"] == pytest.approx(scores["dense"], abs=0.05)
    assert len(set(scores.values())) == 3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("mteb:tasks.py:Small", "of the type Retrieval belongs in [collections]."),
        ("mteb:Banking77Classification", "is scored by mteb.evaluate. [tasks] takes texts of"),
        ("mteb:STSBenchmarks", "Did you mean: 'STSBenchmark'?"),
        ("beir:folder", "is not a task. Write mteb:<task>[/<subset>]."),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_mtebs_evaluators_do_not_score_is_refused(
    tmp_path: Path, store: Store, static_model: Path, source: str, said: str
) -> None:
    write_scored(tmp_path)
    candidates = BOTH.format(model=static_model)
    path = tmp_path / "s.toml"
    write_task_suite(path, ["Small"], candidates=candidates, metrics='["ndcg@10"]')
    with path.open("a") as file:
        file.write(f'[tasks.one]\nsource = "{source}"\n')
    with pytest.raises(HarnessError, match=re.escape(said)) as error:
        plan_of(path, store)
    assert error.value.exit_code is ExitCode.USAGE
    assert "s.toml:11: " in str(error.value)


def test_all_verbs_end_and_results_tell_what_mteb_scores(tmp_path: Path, bert_model: Path) -> None:
    path = write_scored(tmp_path)
    with path.open("a") as file:
        file.write(RERANKING.format(name="Lists", main="map_at_1000"))
        file.write('class Gone(Similar):\n    metadata = metadata("Gone", type="STS")\n')
        file.write("    def columns(self):\n        raise OSError('no share')\n")
    prompts = 'prompts = { query = "Instruct: {instruction} " }\n'
    candidates = BOTH.format(model=bert_model) + prompts
    path = tmp_path / "s.toml"
    write_task_suite(path, ["Small", "Lists"], candidates=candidates, metrics='["ndcg@10"]')
    with path.open("a") as file:
        file.write('[gates.floor]\nrule = "at_least"\nvalue = 0.01\nmin_queries = 10\n')
        file.write('[tasks.similar]\nsource = "mteb:tasks.py:Similar"\n')
    where = ("--store", tmp_path / "store", "--results", tmp_path / "results")
    for verb in ("run", "decide", "diagnose", "gate"):
        done = harness(verb, path, *where)
        assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    (dense,) = [each for each in results["candidates"] if each["name"] == "dense"]
    assert dense["query_prompts"]["Small"] == "Instruct: Find the page that answers "
    (file,) = (tmp_path / "results" / "mteb" / "results").glob("*dense*/*/Lists.json")
    (scores,) = json.loads(file.read_text())["scores"]["test"]
    assert scores["main_score"] == scores["map_at_1000"]
    assert scores["languages"] == ["eng-Latn"]
    (score,) = results["task_scores"]
    assert (score["candidate"], score["metric"]) == ("dense", "cosine_spearman")
    for name in ("summary.md", "report.html"):
        text = (tmp_path / "results" / name).read_text()
        assert "Non-retrieval tasks of mteb" in text
        assert "Decision and gates ignore it" in text
    with path.open("a") as file:
        file.write('[tasks.gone]\nsource = "mteb:tasks.py:Gone"\n')
    done = harness("run", path, *where)
    assert done.returncode == 4
    assert "Gone: its load_data fails, got no share." in done.stderr.replace("\n", " ")
    assert "Non-retrieval tasks of mteb" in (tmp_path / "results" / "summary.md").read_text()
