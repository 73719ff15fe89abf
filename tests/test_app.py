"""Every page of the app in every state that a results folder can be in, without a browser."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
from planted_store import write_store  # noqa: E402 - a script beside the package

from harness.decision.situation import Action  # noqa: E402
from harness.decision.verdict import Decision, KindAnswer, OptionVerdict, Rule  # noqa: E402
from harness.gates.report import GateReport, GateResult, LostQuery, State  # noqa: E402
from reports.app.query import found_at  # noqa: E402
from reports.app.shown import FOLD  # noqa: E402
from reports.lookup import Lookup  # noqa: E402

st_testing = pytest.importorskip("streamlit.testing.v1")

ROOT = Path(__file__).parents[1]
PAGES = ("decide", "compare", "failures", "query", "judge", "gates")
HOSTILE = (
    "<script>document.body.id='executed'</script>",
    "<img src=x onerror=\"document.body.id='executed'\">",
    "# heading **bold** [link](javascript:alert(1)) :red[colour] $x^2$ :smile: ![i](http://e.example/x.png)",
    "w" * 3_000,
    "مرحبا بالعالم <b>שלום</b> \u202edrawkcab",
    "",
    "   ",
    "a|b\tc\r\nd",
)


def decision(baseline: str, candidate: str) -> Decision:
    """Return a decision to switch."""
    option = OptionVerdict(
        candidate=candidate,
        action=Action.SWITCH,
        difference=0.05,
        low=0.02,
        high=0.08,
        p_worthwhile=0.99,
        p_harm=0.001,
        query_ms_p95=3.0,
        bytes_per_document=512.0,
        training_minutes=None,
        money_per_month=None,
        excluded="",
    )
    return Decision(
        suite="planted",
        baseline=baseline,
        metric="ndcg@10",
        n=60,
        action=Action.SWITCH,
        candidate=candidate,
        strength="recommended",
        sentence=f"Switch to '{candidate}' (recommended).",
        price="+0.050 ndcg@10 for 2 times the index size; no budget is set.",
        answers=[
            KindAnswer(
                action=Action.SWITCH,
                reply="yes",
                candidate=candidate,
                sentence=f"Switching: yes, +0.050 with '{candidate}'.",
            )
        ],
        rules=[
            Rule(name="data", decided=False, evidence="The judgements look sound."),
            Rule(name="pipeline", decided=False, evidence="No mistake is known."),
            Rule(name="budgets", decided=False, evidence="Nothing exceeds a budget."),
            Rule(name="improvement", decided=True, evidence=f"{candidate} gains 0.05."),
        ],
        options=[option],
        more_queries=None,
        experiment="Add a fine-tuned candidate.",
        published=[],
        notes=["One note."],
    )


def gates(candidate: str, query: str) -> GateReport:
    """Return three gates, one of each answer."""
    findings = [
        GateResult(
            gate=f"gate-{state}",
            rule="no_worse",
            level="error",
            on_inconclusive="warn",
            candidate=candidate,
            collection="planted-0",
            slice=None,
            asked="ndcg@10",
            state=state,
            reason=f"It is {state}.",
            n=60,
            limit=0.02,
            baseline=0.5,
            value=0.45,
            difference=-0.05,
            low=-0.09,
            high=-0.01,
            bound=-0.08,
            mde=0.05,
            worst=[LostQuery(query=query, text="a text", baseline=1.0, candidate=0.0)],
        )
        for state in (State.PASS, State.FAIL, State.INCONCLUSIVE)
    ]
    return GateReport(
        suite="planted", baseline="model-0", state=State.FAIL, exit_code=1, findings=findings
    )


def whole(folder: Path, **dials: object) -> Path:
    """Write a results folder to which every verb has been."""
    results = write_store(folder, **{"queries": 60, "documents": 120, **dials})
    names = [candidate.name for candidate in results.candidates]
    told = decision(names[0], names[-1])
    (folder / "decision.json").write_text(told.model_dump_json())
    (folder / "gate.json").write_text(gates(names[0], "q000").model_dump_json())
    (folder / "junit.xml").write_text("<testsuites/>")
    return folder


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with everything in it."""
    return whole(tmp_path_factory.mktemp("whole") / "planted")


Open = Callable[..., "st_testing.AppTest"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return a function that opens a page of the app on a folder."""
    from streamlit.components.v2 import manifest_scanner
    from streamlit.util import calc_hash

    # Each page would look for components, of which the app has none, in every installed package.
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", list)
    # Streamlit leaves its page there, which every process that is forked later would run first.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])

    def opening(folder: Path, page: str = "decide", **parameters: str) -> st_testing.AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", str(folder)])
        app = st_testing.AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        for name, value in parameters.items():
            app.query_params[name] = value
        app._page_hash = calc_hash(page if page != "decide" else "")
        app.run()
        assert not app.exception, app.exception[0].message
        return app

    return opening


def shown(app: st_testing.AppTest) -> str:
    """Return everything that a page shows as HTML, apart from its own script."""
    return "\n".join(element.value for element in app.html if element.value != FOLD)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_a_store_with_everything(stored: Path, opened: Open, page: str):
    app = opened(stored, page)
    assert "<h1>" in shown(app)
    assert len(shown(app)) > 1_000


def test_the_verdict_stands_with_its_strength_its_facts_and_what_would_change_it(
    stored: Path, opened: Open
):
    text = shown(opened(stored))
    lines = (
        "Switch to &#39;model-3&#39; (recommended).",
        "+0.050 ndcg@10 for 2 times the index size; no budget is set.",
        "switch: yes",
        "[+0.020, +0.080]",
        "What would change it:</strong> Add a fine-tuned candidate.",
        "<details><summary>Rules and evidence",
        "model-3 gains 0.05.",
    )
    assert sorted(lines, key=text.index) == list(lines)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param({"candidates": 1}, id="one candidate"),
        pytest.param({"queries": 20, "documents": 40}, id="20 queries, no cluster stands out"),
        pytest.param({"queries": 2, "documents": 5}, id="two queries"),
        pytest.param({"collections": 3}, id="three collections"),
        pytest.param({"ranks": 3}, id="short lists"),
        pytest.param({"diagnosed": 0}, id="no diagnosis"),
    ],
)
def odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small or odd results folder."""
    folder = tmp_path_factory.mktemp("odd") / "planted"
    write_store(folder, **{"queries": 60, "documents": 120, **request.param})
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_page_makes_sense_of_a_small_or_odd_store(odd: Path, opened: Open, page: str):
    assert "<h1>" in shown(opened(odd, page))


def test_what_is_not_there_yet_names_the_command_that_makes_it(tmp_path: Path, opened: Open):
    folder = tmp_path / "planted"
    write_store(folder, queries=30, documents=60, diagnosed=0)
    told = f"SUITE --results {folder}</pre>"
    assert f"<pre>harness decide {told}" in shown(opened(folder))
    assert f"<pre>harness diagnose {told}" in shown(opened(folder, "failures"))
    text = shown(opened(folder, "gates"))
    assert f"<pre>harness baseline save SUITE\nharness gate {told}" in text


def test_pairs_are_graded_by_several_judges_blind(tmp_path: Path, opened: Open):
    folder = whole(tmp_path / "planted")
    assert "harness judge" in shown(opened(folder, "judge"))
    file = tmp_path / "planted.judging" / "planted-0.csv"
    file.parent.mkdir()
    rows = [f"q{row:03},d{row},,<b>question {row}</b>,text {row},Sample x." for row in range(3)]
    file.write_text("\n".join(["query_id,document_id,grade,query,document,why", *rows]) + "\n")
    app = opened(folder, "judge")
    assert app.text_input[0].label == "Your name"
    app.text_input[0].set_value("ann ").run()
    assert "You are ann." in shown(app)
    app = opened(folder, "judge", judge="ann")
    text = shown(app)
    assert "question 0" in text
    assert "<b>question" not in text
    for model in ("model-0", "model-1"):
        assert model not in "".join(each.value for each in app.html if "question 0" in each.value)
    assert app.button(key="undo").disabled
    app.button(key="grade-1").click().run()
    app.button(key="undo").click().run()
    assert "question 0" in shown(app)
    app.button(key="grade-2").click().run()
    app.button(key="grade-skip").click().run()
    app.button(key="undo").click().run()
    app.button(key="grade-bad query").click().run()
    assert "2 of 3 pairs" in shown(app)
    assert [line.split(",")[2] for line in file.read_text().splitlines()] == [
        *("grade", "2", "bad query", "")
    ]
    (folder / "results.json").unlink()  # judged from nothing: no run has written results
    about = {"suite": "planted", "said": {}, "collections": {"planted-0": ""}, "runs": {}}
    (folder / "manifest.json").write_text(json.dumps(about))
    judged = {"differences": [], "models": {}, "agreements": {}}
    (folder / "judging.json").write_text(json.dumps(judged))
    assert "No candidate has a score of its own" in shown(opened(folder, "grades"))
    other = opened(folder, "judge", judge="ben")
    other.button(key="second").click().run()
    other.button(key="grade-3").click().run()
    other.button(key="undo").click().run()  # a second opinion: the grade of the pair stays
    other.button(key="grade-0").click().run()
    assert file.read_text().splitlines()[1].split(",")[2] == "2"
    answers = (file.parent / "planted-0.judges.csv").read_text().splitlines()
    assert answers[0] == "query_id,document_id,grade,judge"
    assert answers[1:] == ["q000,d0,2,ann", "q001,d1,bad query,ann", "q000,d0,0,ben"]
    app.button(key="undo").click().run()
    app.button(key="undo").click().run()  # the grade of ann, whose place that of ben takes
    assert [line.split(",")[2] for line in file.read_text().splitlines()[1:]] == ["0", "", ""]


def test_a_command_names_the_file_of_the_suite(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "results" / "planted"
    write_store(folder, queries=30, documents=60, diagnosed=0)
    (tmp_path / "a suite.toml").write_text("")
    about = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**about, "file": "../../a suite.toml"}))
    monkeypatch.chdir(tmp_path)
    assert "<pre>harness decide &#39;a suite.toml&#39;</pre>" in shown(opened(folder))


def test_no_cluster_says_what_could_not_have_been_seen(tmp_path: Path, opened: Open):
    folder = tmp_path / "planted"
    write_store(folder, queries=20, documents=40)
    text = shown(opened(folder, "failures"))
    assert "No cluster stands out. " in text
    assert "n=20" in text


def test_an_only_candidate_is_not_asked_to_be_compared(tmp_path: Path, opened: Open):
    write_store(tmp_path / "planted", queries=20, documents=40, candidates=1)
    for page in ("decide", "compare"):
        assert "model-0 is the suite&#39;s only candidate" in shown(
            opened(tmp_path / "planted", page)
        )


def test_the_same_candidate_twice_asks_for_another(stored: Path, opened: Open):
    text = shown(opened(stored, "compare", a="model-1", b="model-1"))
    assert "A and B are both model-1: choose another B to compare." in text


def test_before_the_first_run_has_finished_the_app_waits(tmp_path: Path, opened: Open):
    text = shown(opened(tmp_path / "nothing"))
    assert "No results yet" in text
    assert "harness run SUITE" in text


def test_a_store_of_another_version_is_told_without_a_traceback(tmp_path: Path, opened: Open):
    folder = tmp_path / "planted"
    write_store(folder, queries=20, documents=40)
    results = json.loads((folder / "results.json").read_text())
    results["a_field_of_the_future"] = 1
    (folder / "results.json").write_text(json.dumps(results))
    text = shown(opened(folder))
    assert "written by another version of the harness" in text
    assert "a_field_of_the_future" in text


def test_one_unreadable_file_hides_nothing_else(tmp_path: Path, opened: Open):
    folder = whole(tmp_path / "planted")
    (folder / "decision.json").write_text('{"suite": 1')
    text = shown(opened(folder))
    assert "decision.json: written by another version" in text
    assert "not decided" in text
    assert "ndcg@10, A → B" in text


@pytest.mark.parametrize("page", ["compare", "query"])
def test_a_folder_of_an_older_run_without_tables_says_so(tmp_path: Path, opened: Open, page: str):
    folder = whole(tmp_path / "planted")
    (folder / "top.parquet").unlink()
    assert "This folder has no top.parquet" in shown(opened(folder, page))


def test_several_results_can_be_chosen_and_a_link_names_one(tmp_path: Path, opened: Open):
    for name in ("first", "second"):
        write_store(tmp_path / name, queries=20, documents=40)
    app = opened(tmp_path, run="first")
    assert app.selectbox(key="run").value == "first"
    assert sorted(app.selectbox(key="run").options) == ["first", "second"]


def test_a_kept_baseline_is_compared_with_the_best_other_one(tmp_path: Path, opened: Open):
    folder = whole(tmp_path / "planted")
    kept = decision("model-0", "model-3").model_copy(update={"candidate": "model-0"})
    (folder / "decision.json").write_text(kept.model_dump_json())
    assert opened(folder, "compare").selectbox(key="b").value != "model-0"


def test_a_link_opens_the_candidates_that_it_names(stored: Path, opened: Open):
    app = opened(stored, "compare", a="model-1", b="model-2", metric="recall@100")
    assert app.selectbox(key="a").value == "model-1"
    assert "model-2 against model-1, query by query" in shown(app)
    assert "recall@100" in shown(app)


def test_every_pair_comes_before_two_candidates_query_by_query(stored: Path, opened: Open):
    text = shown(opened(stored, "compare"))
    assert text.index("Every pair") < text.index("query by query")


def test_a_latency_of_a_busy_machine_is_called_not_comparable_once(tmp_path: Path, opened: Open):
    folder = whole(tmp_path / "planted")
    costs = json.loads((folder / "costs.json").read_text())
    for cost in costs["costs"]:
        cost |= {"query_ms_p50": 2.0, "query_ms_p95": 3.0, "machine": "busy"}
    (folder / "costs.json").write_text(json.dumps(costs))
    text = shown(opened(folder))
    assert "3.00 → 3.00 ms" not in text
    assert text.count('not comparable</p><p class="said">timed on a busy machine;') == 1


def test_the_texts_of_exemplars_are_no_numbers(stored: Path, opened: Open):
    text = shown(opened(stored, "failures", a="model-0", b="model-1"))
    assert '<th scope="col" class="">top document</th>' in text
    assert '<th scope="col" class="">relevant document</th>' in text


def test_a_query_shows_both_rankings_and_the_next_one_follows(stored: Path, opened: Open):
    app = opened(stored, "query", q="q004")
    text = shown(app)
    assert ">q004</span>" in text
    assert text.count('class="h-card') >= 20
    assert "relevant document" in text
    app.button(key="next").click().run()
    following = app.query_params["q"]
    assert following != "q004"
    assert f">{following}</span>" in shown(app)


def test_the_largest_difference_comes_first_and_other_orders_are_offered(
    stored: Path, opened: Open
):
    found = Lookup(stored).scores("planted-0", "ndcg@10")
    difference = found.values_of["model-2"] - found.values_of["model-1"]
    for order, row in (
        ("largest difference", np.argmax(np.abs(difference))),
        ("largest gain", np.argmax(difference)),
        ("largest loss", np.argmin(difference)),
    ):
        text = shown(opened(stored, "query", a="model-1", b="model-2", sort=order))
        assert f">{found.query_ids[row]}</span>" in text


def test_a_query_says_where_its_relevant_document_is():
    assert found_at([None], stored=100, retrieved=100) == (
        "relevant document not among the 100 retrieved"
    )
    assert found_at([37, None], stored=100, retrieved=1_000) == (
        "relevant documents at rank 37; 1 of 2 beyond rank 100"
    )
    assert found_at([None, None], stored=100, retrieved=100, best=197) == (
        "first of 2 relevant documents at rank 197, beyond the 100 retrieved"
    )


def test_a_rank_that_the_diagnosis_knows_is_the_only_one_told(tmp_path: Path, opened: Open):
    folder = whole(tmp_path / "planted", ranks=3)
    table = pq.read_table(folder / "diagnosis.parquet").to_pylist()
    relevant = Counter(
        row["query_id"] for row in pq.read_table(folder / "judgements.parquet").to_pylist()
    )
    row = next(
        row
        for row in table
        if row["candidate"] == "model-0" and row["rank"] > 3 and relevant[row["query_id"]] == 1
    )
    text = shown(opened(folder, "query", a="model-0", b="model-1", q=row["query_id"]))
    assert f"relevant document at rank {row['rank']}, beyond the 3 retrieved" in text
    assert f"<span>rank {row['rank']} in A" in text


def test_another_order_starts_at_its_first_query(stored: Path, opened: Open):
    app = opened(stored, "query", a="model-1", b="model-2", q="q004")
    app.selectbox(key="sort").set_value("largest loss").run()
    found = Lookup(stored).scores("planted-0", "ndcg@10")
    worst = np.argmin(found.values_of["model-2"] - found.values_of["model-1"])
    assert f">{found.query_ids[worst]}</span>" in shown(app)


def test_going_on_stays_inside_the_cluster(stored: Path, opened: Open):
    app = opened(stored, "query", within="cluster c1 of model-0")
    assert app.selectbox(key="within").value == "cluster c1 of model-0"
    diagnosis = json.loads((stored / "diagnosis.json").read_text())
    members = diagnosis["candidates"][0]["clusters"][0]["members"]
    app.button(key="next").click().run()
    assert app.query_params["q"] in members


def test_words_find_a_query(stored: Path, opened: Open):
    app = opened(stored, "query")
    app.text_input(key="find").set_value("q042").run()
    assert ">q042</span>" in shown(app)
    app.text_input(key="find").set_value("no text has this in it").run()
    assert "No query matches." in shown(app)


def test_a_judgement_goes_into_a_file_beside_the_results_and_shows_at_once(
    tmp_path: Path, opened: Open
):
    folder = whole(tmp_path / "planted")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    app = opened(folder, "query", q="q004")
    button = next(
        each
        for each in app.button
        if each.key.startswith("judge-0-") and each.label == "Mark relevant"
    )
    document = button.key.split("-")[2]
    button.click().run()
    file = tmp_path / "planted.judgements" / "planted-0.csv"
    assert file.read_text() == f"query_id,document_id,grade\nq004,{document},1\n"
    assert "relevant, grade 1 (you)" in shown(app)
    app.button(key=f"judge-0-{document}-None").click().run()
    assert file.read_text() == "query_id,document_id,grade\n"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with texts and names that mean harm."""
    folder = tmp_path_factory.mktemp("hostile") / "planted"
    names = ["<script>alert(1)</script>", "**bold** :smile:", '"><img src=x onerror=alert(1)>']
    write_store(folder, queries=60, documents=120, texts=HOSTILE, names=names)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_hostile_texts_are_only_text(hostile: Path, opened: Open, page: str):
    for query in ("q000", "q003", "q005") if page == "query" else ("",):
        app = opened(hostile, page, q=query)
        text = shown(app)
        assert "<script>" not in text.replace("<style>", "")
        assert "<img" not in text
        assert "javascript:alert" not in "\n".join(each.value for each in app.markdown)
