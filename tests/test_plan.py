from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    DIMENSION,
    plan_of,
    save_cross_encoder,
    sentences,
    write_beir,
    write_suite,
    write_vectors,
)
from rich.console import Console

from harness.collection import remembered
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest, file_digest
from harness.plan.plan import Plan, exported_metrics
from harness.plan.scoring import ScoreRun
from harness.retrieval.encoding import Encode
from harness.retrieval.lengths import CountTokens
from harness.retrieval.reranking import Rerank, ScorePairs
from harness.runs.metrics import parse_metric
from harness.stage import Context, Stage
from harness.store import Store
from reports import plan_view


def suite_file(tmp_path: Path, beir: Path, candidates: str, *, baseline: str = "base") -> Path:
    head = f'baseline = "{baseline}"\ncollections.small.source = "beir:{beir}"\n'
    return write_suite(tmp_path / "suite.toml", head + candidates)


def keys(plan: Plan) -> Counter[tuple[str, str | None]]:
    return Counter((type(stage).__name__, stage.key(plan.store)) for stage in plan.stages)


def of_kind(plan: Plan, kind: type) -> list[Stage]:
    return [stage for stage in plan.stages if isinstance(stage, kind)]


def refusal(path: Path, store: Store) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        plan_of(path, store)
    return caught.value


@pytest.fixture
def dense(static_model: Path) -> str:
    return f'[candidates.base]\nmodel = "{static_model}"\n'


def test_neither_paths_nor_names_nor_the_order_of_candidates_enter_a_key(
    tmp_path: Path, beir: Path, static_model: Path, cross_encoder: Path, store: Store
):
    def plan(folder: Path, names: list[str], *, backwards: bool) -> Plan:
        one, two, three, four, five, six, seven = names
        shutil.copytree(static_model, folder / one)
        shutil.copytree(cross_encoder, folder / three)
        shutil.copytree(beir, folder / six)
        draw = np.random.default_rng(1)
        for side, ids in (
            ("doc", [f"d{n:02}" for n in range(60)]),
            ("query", [f"q{n:02}" for n in range(60)]),
        ):
            write_vectors(folder / f"{side}-{one}.npy", draw.normal(size=(60, 4)), ids)
        (folder / f"{seven}.trec").write_text("q01 Q0 d01 1 3.5 tag\n")
        tables = [
            f'[candidates."{one}"]\nmodel = "{folder / one}"\n',
            f'[candidates."{two}"]\nfrom = "{one}"\ntruncate = 4\n',
            (
                f'[candidates."{three}"]\nfrom = "{two}"\n'
                f'rerank = {{ model = "{folder / three}", depth = 9 }}\n'
            ),
            f'[candidates."{four}"]\nfuse = ["{one}", "{three}"]\n',
            (
                f'[candidates."{five}"]\nfrom = "{one}"\n'
                f'finetune = {{ data = "{six}:train", batch_size = 8 }}\n'
            ),
            f'[candidates."{seven}"]\nrun = "{folder / seven}.trec"\n',
            (
                f'[candidates."{seven}+"]\nvectors = {{ documents = "{folder}/doc-{one}.npy", '
                f'queries = "{folder}/query-{one}.npy" }}\n'
            ),
        ]
        body = "".join(tables[::-1] if backwards else tables)
        head = f'baseline = "{one}"\ncollections."{six}".source = "beir:{folder / six}"\n'
        return plan_of(write_suite(folder / f"{two}.toml", head + body), store)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = plan(tmp_path / "a", list("abcdefg"), backwards=False)
    second = plan(tmp_path / "b", list("tuvwxyz"), backwards=True)
    assert keys(first) == keys(second)
    assert len(keys(first)) > 20


def test_no_stage_stands_twice_in_a_plan(tmp_path: Path, beir: Path, dense: str, store: Store):
    twins = dense + dense.replace("base", "twin").replace(
        "model", 'similarity = "cosine"\nmodel', 1
    )
    alone = plan_of(suite_file(tmp_path, beir, dense), store)
    both = plan_of(suite_file(tmp_path, beir, twins), store)
    assert max(keys(both).values()) == 1
    assert keys(both) == keys(alone)


def test_a_truncation_encodes_nothing_again(tmp_path: Path, beir: Path, dense: str, store: Store):
    before = plan_of(suite_file(tmp_path, beir, dense), store)
    cut = dense + '[candidates.cut]\nfrom = "base"\ntruncate = 4\n'
    after = plan_of(suite_file(tmp_path, beir, cut), store)
    added = keys(after) - keys(before)
    assert {kind for kind, _ in added} == {"Search", "SearchPrefixes", "SearchQuery", "ScoreRun"}
    assert keys(before) - keys(after) == Counter()


def test_a_candidate_adds_its_own_stages_and_leaves_all_others_alone(
    tmp_path: Path, beir: Path, dense: str, cross_encoder: Path, store: Store
):
    steps = {
        "base": dense,
        "words": '[candidates.words]\nkind = "bm25"\n',
        "hybrid": '[candidates.hybrid]\nfuse = ["base", "words"]\n',
        "reranked": '[candidates.reranked]\nfrom = "hybrid"\n'
        f'rerank = {{ model = "{cross_encoder}", depth = 20 }}\n',
        "cascade": '[candidates.cascade]\nfrom = "words"\n'
        'rerank = { candidate = "base", depth = 20 }\n',
        "tuned": '[candidates.tuned]\nfrom = "base"\n'
        'finetune = { data = "small:train", batch_size = 8 }\n',
    }
    wanted = {
        "base": {"Encode", "EncodeQuery", "Search", "SearchQuery", "ScoreRun"},
        "words": {"LexicalSearch", "LexicalQuery", "ScoreRun"},
        "hybrid": {"FuseRuns", "ScoreRun"},
        "reranked": {"ScorePairs", "Rerank", "RescoreQuery", "ScoreRun"},
        "cascade": {"Rerank", "RescoreQuery", "ScoreRun"},
        "tuned": {"Train"},  # and, once it is trained, what any model of its own has
    }
    text, before = "", Counter[tuple[str, str | None]]()
    for name, table in steps.items():
        text += table
        plan = plan_of(suite_file(tmp_path, beir, text), store)
        after = Counter({key: count for key, count in keys(plan).items() if key[1] is not None})
        assert before - after == Counter()
        assert {kind for kind, _ in after - before} == wanted[name]
        before = after


def test_another_prompt_for_queries_leaves_the_documents_alone(
    tmp_path: Path, beir: Path, dense: str, store: Store
):
    before = plan_of(suite_file(tmp_path, beir, dense), store)
    other = dense + dense.replace("base", "other") + 'prompts = { query = "find " }\n'
    after = plan_of(suite_file(tmp_path, beir, other), store)
    added = [
        stage
        for stage in of_kind(after, Encode)
        if ("Encode", stage.key(store)) not in keys(before)
    ]
    assert [stage.role for stage in added if isinstance(stage, Encode)] == ["query"]


def test_prompts_are_those_of_the_model_unless_the_suite_gives_others(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    text = f"""
    [candidates.base]
    model = "{bert_model}"
    [candidates.other]
    model = "{bert_model}"
    prompts = {{ query = "", document = "find " }}
    [candidates.half]
    model = "{bert_model}"
    prompts = {{ document = "" }}
    """
    planner = plan_of(suite_file(tmp_path, beir, text), store).planner
    assert planner.dense("base").prompts == ("ba be ", "bi bo ")
    assert planner.dense("other").prompts == ("", "find ")
    assert planner.dense("half").prompts == ("ba be ", "")


def test_cross_encoders_wait_for_what_they_rerank_at_every_level(
    tmp_path: Path, beir: Path, dense: str, cross_encoder: Path, store: Store
):
    rerank = f'rerank = {{ model = "{cross_encoder}", depth = 10 }}'
    text = f"""{dense}
    [candidates.top]
    from = "mixed"
    {rerank}
    [candidates.mixed]
    fuse = ["low", "words"]
    [candidates.low]
    from = "base"
    {rerank}
    [candidates.also]
    from = "words"
    {rerank}
    [candidates.words]
    kind = "bm25"
    """
    plan = plan_of(suite_file(tmp_path, beir, text), store)
    order = {stage: place for place, stage in enumerate(plan.stages)}
    run = {name: plan.planner.run_stage(name, "small") for name in plan.suite.candidates}
    pairs = [stage for stage in plan.stages if isinstance(stage, ScorePairs)]
    assert [len(stage.asked) for stage in pairs] == [2, 1]
    assert order[run["base"]] < order[pairs[0]] < order[run["low"]] < order[run["mixed"]]
    assert order[run["mixed"]] < order[pairs[1]] < order[run["top"]]
    assert order[pairs[0]] < order[run["also"]]


def test_a_model_stays_in_memory_for_everything_that_needs_it(
    tmp_path: Path, beir: Path, dense: str, bert_model: Path, store: Store
):
    other = f'[candidates.bert]\nmodel = "{bert_model}"\n'
    plan = plan_of(suite_file(tmp_path, beir, dense + other), store)
    users = [
        stage.name if isinstance(stage, Encode) else stage.encode.name
        for stage in plan.stages
        if isinstance(stage, Encode) or hasattr(stage, "encode")
        if not isinstance(stage, CountTokens)
    ]
    assert users == sorted(users)
    assert set(users) == {"base", "bert"}


def test_the_plan_tells_how_much_is_left(
    tmp_path: Path, beir: Path, dense: str, cross_encoder: Path, store: Store
):
    rerank = f'[candidates.r]\nfrom = "base"\nrerank = {{ model = "{cross_encoder}", depth = 7 }}\n'
    plan = plan_of(suite_file(tmp_path, beir, dense + rerank), store)
    left = plan.left()
    assert len(left) == len(plan.stages)
    assert sum(work.texts for _, work in left) == 60 + 20
    assert sum(work.pairs for _, work in left) == 7 * 20
    assert not store.root.exists()


def test_the_runs_are_as_deep_as_the_deepest_metric_or_reranker(
    tmp_path: Path, beir: Path, dense: str, store: Store
):
    assert plan_of(suite_file(tmp_path, beir, dense), store).depth == 100
    deep = '[candidates.r]\nfrom = "base"\nrerank = { candidate = "base", depth = 300 }\n'
    assert plan_of(suite_file(tmp_path, beir, dense + deep), store).depth == 300


def test_every_candidate_is_scored_on_every_collection(
    tmp_path: Path, beir: Path, dense: str, store: Store
):
    other = f'[collections.other]\nsource = "beir:{beir}"\nsplit = "train"\n'
    plan = plan_of(suite_file(tmp_path, beir, other + dense), store)
    assert set(plan.scored) == {("base", "small"), ("base", "other")}
    assert len(of_kind(plan, ScoreRun)) == 2
    documents = [
        stage for stage in of_kind(plan, Encode) if getattr(stage, "role", "") == "document"
    ]
    assert len(documents) == 1  # both splits search the same documents


def test_files_are_those_of_the_collection_that_the_path_names(
    tmp_path: Path, beir: Path, store: Store
):
    for name, row in (("small", "d01"), ("other", "d25")):
        (tmp_path / f"{name}.trec").write_text(f"q01 Q0 {row} 1 1 x\nq21 Q0 {row} 1 1 x\n")
    text = f"""
    [collections.other]
    source = "beir:{beir}"
    split = "train"
    [candidates.base]
    run = "{tmp_path}/{{collection}}.trec"
    """
    planner = plan_of(suite_file(tmp_path, beir, text), store).planner
    found = {}
    for name in ("small", "other"):
        stage = planner.run_stage("base", name)
        stage.run(Context(store=store))
        found[name] = int(stage.result(store).documents.max())
    assert found == {"small": 1, "other": 25}


def test_all_problems_of_all_candidates_are_told_at_once_with_their_lines(
    tmp_path: Path,
    beir: Path,
    static_model: Path,
    bert_model: Path,
    cross_encoder: Path,
    store: Store,
):
    text = f"""[candidates.base]
model = "{static_model}"
[candidates.none]
model = "{tmp_path}/nowhere"
[candidates.below]
from = "none"
truncate = 3
[candidates.cross]
model = "{cross_encoder}"
[candidates.bi]
from = "base"
rerank = {{ model = "{bert_model}" }}
[candidates.wide]
from = "base"
truncate = 17
[candidates.long]
model = "{bert_model}"
max_length = 25
[candidates.longer]
from = "base"
rerank = {{ model = "{cross_encoder}", max_length = 99 }}
[candidates.absent]
vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/d.npy" }}
[candidates.file]
run = "{tmp_path}/none.trec"
"""
    error = refusal(suite_file(tmp_path, beir, text), store)
    assert error.exit_code is ExitCode.USAGE
    found = [problem.removeprefix(f"{tmp_path}/suite.toml:") for problem in error.problems]
    starts = [
        f"7: candidate 'none': '{tmp_path}/nowhere' is no folder with weights",
        f"12: candidate 'cross': '{cross_encoder}' is a cross-encoder and has no vectors.",
        f"14: candidate 'bi': rerank: '{bert_model}' is a bi-encoder.",
        "17: candidate 'wide': truncate = 17: 'base' has 16 dimensions. Give at most 16.",
        f"20: candidate 'long': max_length = 25: '{bert_model}' has positions for 24 tokens.",
        f"23: candidate 'longer': max_length = 99: '{cross_encoder}' has positions for 24 tokens.",
        f"26: candidate 'absent': {tmp_path}/d.npy: no such file.",
        f"26: candidate 'absent': {tmp_path}/d.ids.txt: no such file.",
        f"26: candidate 'absent': {tmp_path}/d.npy: no such file.",
        f"26: candidate 'absent': {tmp_path}/d.ids.txt: no such file.",
        f"28: candidate 'file': {tmp_path}/none.trec: ",
    ]
    assert len(found) == len(starts)
    for problem, start in zip(found, starts, strict=True):
        assert problem.startswith(start)


def test_vectors_of_two_models_are_refused_before_anything_runs(
    tmp_path: Path, beir: Path, store: Store
):
    for side, width in (("d", 4), ("q", 5)):
        ids = [f"{side}{row:02}" for row in range(60)]
        write_vectors(tmp_path / f"{side}.npy", np.ones((60, width)), ids)
    files = f'vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/q.npy" }}\n'
    error = refusal(suite_file(tmp_path, beir, "[candidates.base]\n" + files), store)
    [problem] = error.problems
    assert "d.npy has 4 dimensions" in problem


def test_what_can_be_done_and_may_be_a_mistake_is_a_warning(
    tmp_path: Path, beir: Path, static_model: Path, store: Store
):
    (tmp_path / "run.trec").write_text("q01 Q0 d01 1 3.5 t\nq01 Q0 zz 2 3 t\nq99 Q0 d01 1 1 t\n")
    text = f"""
    [candidates.base]
    model = "{static_model}"
    matryoshka = [8]
    similarity = "dot"
    max_length = 64
    [candidates.trained]
    from = "base"
    truncate = 8
    [candidates.whole]
    from = "base"
    truncate = {DIMENSION}
    [candidates.untrained]
    from = "base"
    truncate = 4
    [candidates.file]
    run = "{tmp_path}/run.trec"
    """
    warnings = plan_of(suite_file(tmp_path, beir, text), store).planner.warnings
    told = "\n".join(warnings)
    assert "'untrained': 'base' declares the Matryoshka widths 8. If it was trained for 4" in told
    assert "'trained': 'base' declares no" not in told
    assert "'whole': 'base' declares no" not in told
    assert "'trained': a truncation is normalised" in told
    assert "is static and reads every text whole; max_length changes nothing" in told
    assert "misses 19 of 20 judged queries (q00, q02, q03, …)" in told
    assert "has 1 result not in the corpus" in told
    assert "answers 1 unjudged query" in told


def test_two_sources_of_one_collection_are_read_as_one(tmp_path: Path, store: Store, dense: str):
    texts = sentences(12, seed=5)
    folder = write_beir(
        tmp_path / "two",
        documents={f"d{row}": text for row, text in enumerate(texts)},
        queries={"q": "ba be", "r": "bi bo"},
        qrels={"test": [("q", "d1", 1)], "dev": [("r", "d2", 1)]},
    )
    other = f'[collections.dev]\nsource = "beir:{folder}"\nsplit = "dev"\n'
    plan = plan_of(suite_file(tmp_path, folder, other + dense), store)
    assert plan.collections["small"].documents_key == plan.collections["dev"].documents_key
    assert plan.collections["small"].queries_key != plan.collections["dev"].queries_key


def test_the_exported_metrics_are_the_suites_and_their_families_at_the_usual_cutoffs():
    metrics = (parse_metric("ndcg@7"), parse_metric("recall@100"))
    names = [str(metric) for metric in exported_metrics(metrics, 100)]
    assert names[:2] == ["ndcg@7", "recall@100"]
    assert set(names[2:]) == {
        f"{family}@{cutoff}" for family in ("ndcg", "recall") for cutoff in (1, 3, 5, 10, 20, 100)
    } - {"recall@100"}


def test_reranking_asks_no_more_of_a_run_than_it_holds(
    tmp_path: Path, beir: Path, dense: str, store: Store
):
    cascade = '[candidates.r]\nfrom = "base"\nrerank = { candidate = "base", depth = 2000 }\n'
    plan = plan_of(suite_file(tmp_path, beir, dense + cascade), store)
    assert [stage.depth for stage in plan.stages if isinstance(stage, Rerank)] == [2000]
    assert plan.depth == 2000


def test_a_reranker_of_several_labels_is_refused_before_anything_runs(
    tmp_path: Path, beir: Path, store: Store
):
    several = save_cross_encoder(tmp_path / "several", seed=1, labels=2)
    text = f"""
[candidates.base]
kind = "bm25"
[candidates.two]
from = "base"
rerank = {{ model = "{several}" }}
"""
    error = refusal(suite_file(tmp_path, beir, text), store)
    assert error.exit_code is ExitCode.USAGE
    [problem] = error.problems
    assert "a reranker gives one score, got 2 labels" in problem


def test_damaged_vectors_are_refused_data(tmp_path: Path, beir: Path, store: Store):
    ids = [f"d{row:02}" for row in range(60)]
    write_vectors(tmp_path / "d.npy", np.ones((60, 4)), ids)
    (tmp_path / "d.npy").write_bytes(b"")
    files = f'vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/d.npy" }}\n'
    error = refusal(suite_file(tmp_path, beir, "[candidates.base]\n" + files), store)
    assert error.exit_code is ExitCode.DATA
    assert "the file is empty. Save the array with numpy.save." in error.problems[0]


def test_vectors_of_bytes_are_read_with_a_warning(tmp_path: Path, beir: Path, store: Store):
    draw = np.random.default_rng(1)
    for side in ("d", "q"):
        ids = [f"{side}{row:02}" for row in range(60)]
        path = write_vectors(tmp_path / f"{side}.npy", np.ones((60, 4)), ids)
        np.save(path, draw.integers(1, 100, size=(60, 4)).astype(np.int8))
    files = f'vectors = {{ documents = "{tmp_path}/d.npy", queries = "{tmp_path}/q.npy" }}\n'
    plan = plan_of(suite_file(tmp_path, beir, "[candidates.base]\n" + files), store)
    documents, queries = plan.planner.warnings
    assert "d.npy: int8 is read as one number per dimension, 4 in all" in documents
    assert "q.npy: int8" in queries


def test_prompts_that_nothing_applies_are_a_warning_unless_the_suite_chooses(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    folder = Path(shutil.copytree(bert_model, tmp_path / "model"))
    declared = folder / "config_sentence_transformers.json"
    settings = json.loads(declared.read_text())
    settings["prompts"] = {"query": "ba ", "passage": "be "}
    declared.write_text(json.dumps(settings))
    text = f"""
[candidates.base]
model = "{folder}"
[candidates.chosen]
model = "{folder}"
prompts = {{ document = "be " }}
"""
    plan = plan_of(suite_file(tmp_path, beir, text), store)
    assert plan.planner.dense("base").prompts == ("ba ", "")
    assert plan.planner.dense("chosen").prompts == ("ba ", "be ")
    [warning] = plan.planner.warnings
    assert warning == (
        f"'base': '{folder}' declares the prompts passage = 'be ', and none named "
        "'document'; as in sentence-transformers' encode_document, no prompt is put before its "
        'texts. Set prompts = { document = "…" }, to "" to keep it so.'
    )
    told = plan_view.as_json(plan)["candidates"]
    assert told["base"]["prompts"] == {"query": "ba ", "document": ""}
    assert told["chosen"]["prompts"] == {"query": "ba ", "document": "be "}


def test_a_transformer_without_modules_is_pooled_with_a_warning(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store
):
    plain = bert_model.parent / "plain"
    text = f'[candidates.base]\nmodel = "{plain}"\n'
    [warning] = plan_of(suite_file(tmp_path, beir, text), store).planner.warnings
    assert "uses mean pooling" in warning


def test_a_collection_of_one_query_is_refused_before_anything_runs(tmp_path: Path, store: Store):
    one = write_beir(
        tmp_path / "one",
        documents={"d1": "ba be", "d2": "bi bo"},
        queries={"q1": "ba"},
        qrels={"test": [("q1", "d1", 1)]},
    )
    text = """
[candidates.base]
kind = "bm25"
[candidates.other]
kind = "bm25"
k1 = 2.0
"""
    error = refusal(suite_file(tmp_path, one, text), store)
    assert error.exit_code is ExitCode.DATA
    assert "needs 2 judged queries or more, got 1" in error.problems[0]


def chain(length: int) -> str:
    tables = ['[candidates.base]\nkind = "bm25"\n[candidates.words]\nkind = "bm25"\nk1 = 1.5\n']
    before = "base"
    for number in range(1, length):
        tables.append(f'[candidates.r{number}]\nfuse = ["{before}", "words"]\n')
        before = f"r{number}"
    return "".join(tables)


def test_a_long_chain_works_out_each_key_once(
    tmp_path: Path, beir: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    asked: Counter[str] = Counter()

    def counted(*parts: object) -> str:
        asked.update([str(parts[0])])
        return digest(*parts)

    monkeypatch.setattr("harness.stage.digest", counted)
    plan = plan_of(suite_file(tmp_path, beir, chain(200)), store)
    assert asked["FuseRuns"] == 199
    assert len(plan.left()) == len(plan.stages)
    assert asked["FuseRuns"] == 199


def test_a_chain_beyond_the_bound_is_refused_when_the_suite_is_read(
    tmp_path: Path, beir: Path, store: Store
):
    told = str(refusal(suite_file(tmp_path, beir, chain(1500)), store))
    assert "candidate 'r200': ends a chain of more than 200 candidates" in told


def test_the_plan_says_how_models_are_fed_and_what_a_search_holds(
    tmp_path: Path, beir: Path, dense: str, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HARNESS_MEMORY", "2GB")
    cut = dense + '[candidates.cut]\nfrom = "base"\ntruncate = 4\n'
    plan = plan_of(suite_file(tmp_path, beir, cut), store)
    told = plan_view.as_json(plan)
    assert told["feeds"] == {"base": "own batches of token ids"}
    assert told["vector_memory_bytes"] == 2**31
    console = Console(width=200, record=True)
    console.print(plan_view.render(plan))
    said = console.export_text()
    assert "Texts of base: own batches of token ids." in said
    assert "Search holds up to 2 GB of vectors (HARNESS_MEMORY) and reads more from disk" in said


def test_large_weights_are_hashed_and_read_once(
    tmp_path: Path, beir: Path, bert_model: Path, store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("harness.training.weights.FEWEST_BYTES", 1000)
    monkeypatch.setattr(remembered, "_RESOLUTION_NS", -1)  # as if written long ago
    model = tmp_path / "model"
    shutil.copytree(bert_model, model)
    path = suite_file(tmp_path, beir, f'[candidates.base]\nmodel = "{model}"\n')
    read: list[str] = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(remembered, "file_digest", counted)
    plan = plan_of(path, store)
    first = keys(plan)
    assert "model.safetensors" in read
    read.clear()
    with monkeypatch.context() as context:
        context.delattr("harness.training.weights.read_weights")
        again = plan_of(path, store)
    assert keys(again) == first
    assert again.planner.found_weights() == plan.planner.found_weights() != [None]
    assert "model.safetensors" not in read
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert keys(plan_of(path, store)) != first
