from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from harness.errors import ExitCode, HarnessError
from harness.suite.kinds.bm25 import Bm25
from harness.suite.kinds.dense import Dense
from harness.suite.kinds.finetune import Finetune
from harness.suite.kinds.fuse import Fuse
from harness.suite.kinds.rerank import Reranking
from harness.suite.kinds.run import RunFile
from harness.suite.kinds.truncate import Truncate
from harness.suite.kinds.vectors import VectorFiles
from harness.suite.load import load_suite
from harness.suite.spec import Suite

HEAD = """
name = "small"
metrics = ["ndcg@10"]
baseline = "dense"
[collections.sci]
source = "beir:sci"
[candidates.dense]
model = "org/model"
[candidates.words]
kind = "bm25"
"""
FIRST = HEAD.count("\n") + 1  # the line of what a test adds


def suite_of(path: Path, text: str) -> Suite:
    path.write_text(text, encoding="utf-8")
    return load_suite(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return the problems of a file, each as ``line: message``."""
    path = tmp_path / "suite.toml"
    with pytest.raises(HarnessError) as caught:
        suite_of(path, text)
    assert caught.value.exit_code is ExitCode.USAGE
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def added(tmp_path: Path, text: str) -> list[str]:
    """Return the problems of `HEAD` and `text`, lines counted from the first line of `text`."""
    found = [problem.split(":", 1) for problem in problems(tmp_path, HEAD + text)]
    return [f"{int(line) - FIRST + 1}:{message}" for line, message in found]


def test_every_kind_of_candidate_is_read(tmp_path: Path):
    text = (
        HEAD
        + """
    [candidates."dense/128"]
    from = "dense"
    truncate = 128
    [candidates.tuned]
    from = "dense"
    finetune = { data = "sci:train", matryoshka = [64, 32], epochs = 2, learning_rate = 0.01 }
    [candidates.again]
    from = "words"
    rerank = { model = "org/cross", depth = 50 }
    [candidates.cascade]
    from = "dense/128"
    rerank = { candidate = "tuned" }
    [candidates.hybrid]
    fuse = ["dense", "words"]
    method = "wsum"
    weights = [0.7, 0.3]
    [candidates.given]
    vectors = { documents = "d.npy", queries = "q.npy" }
    similarity = "dot"
    [candidates.other]
    run = "runs/{collection}.trec"
    """
    )
    suite = suite_of(tmp_path / "suite.toml", text)
    kinds = {name: type(spec) for name, spec in suite.candidates.items()}
    assert kinds == {
        "dense": Dense,
        "words": Bm25,
        "dense/128": Truncate,
        "tuned": Finetune,
        "again": Reranking,
        "cascade": Reranking,
        "hybrid": Fuse,
        "given": VectorFiles,
        "other": RunFile,
    }
    assert suite.candidates["cascade"].needs == ("dense/128", "tuned")
    assert suite.candidates["cascade"].parents == ("dense/128",)
    assert [name for name, spec in suite.candidates.items() if spec.has_vectors] == [
        "dense",
        "dense/128",
        "tuned",
        "given",
    ]


def test_the_suite_keeps_what_the_user_said_and_where(tmp_path: Path):
    path = tmp_path / "suite.toml"
    suite = suite_of(path, HEAD)
    assert suite.said == tomllib.loads(HEAD)
    assert suite.where("candidates", "words", "kind") == f"{path}:{FIRST - 1}"
    assert suite.seed == 13


def test_all_problems_of_a_file_are_told_at_once_in_the_order_of_its_lines(tmp_path: Path):
    text = """nam = "x"
name = "small"
metrics = ["ndcg@10", "ndgc@10"]
baseline = "dens"
[collections.sci]
source = "beir:sci"
splt = "test"
[candidates.dense]
modle = "m"
[candidates."dense/8"]
from = "dense"
truncate = "8"
[candidates.hybrid]
fuse = ["dense", "word"]
[candidates.words]
kind = "bm25"
"""
    assert problems(tmp_path, text) == [
        "1: unknown key 'nam'. Did you mean 'name'?",
        "3: metric 'ndgc@10': unknown name 'ndgc'. Did you mean 'ndcg'?",
        "4: no candidate 'dens'. Did you mean 'dense'?",
        "7: collection 'sci': unknown key 'splt'. Did you mean 'split'?",
        (
            "9: candidate 'dense': unknown key 'modle', and no key that sets the kind. "
            "Did you mean 'model'?"
        ),
        "12: candidate 'dense/8': 'truncate' must be a whole number, got '8'.",
        "14: candidate 'hybrid': no candidate 'word'. Did you mean 'words'?",
    ]


MISTAKES = {
    "[candidates.x]\nmodel = 'm'\nmax_lenght = 9": (
        "3: candidate 'x': unknown key 'max_lenght'. Did you mean 'max_length'?"
    ),
    "[candidates.x]\nmodel = 'm'\nprompts = { qery = 'q: ' }": (
        "3: candidate 'x': unknown key 'qery' in 'prompts'. Did you mean 'query'?"
    ),
    "[candidates.x]\nfrom = 'words'\nrerank.model = 'm'\nrerank.deep = 9": (
        "4: candidate 'x': unknown key 'deep' in 'rerank'. Did you mean 'depth'?"
    ),
    "[candidates.x]\nkind = 'bm25'\nmodel = 'm'": (
        "1: candidate 'x': a candidate has one kind, got 'kind' and 'model'. Keep one; "
        'make a second change another candidate with from = "…".'
    ),
    "[candidates.x]\nfrom = 'dense'": (
        "1: candidate 'x': no key sets the kind, got 'from'. Add one of 'kind', 'model', "
        "'sparse', 'multi_vector', 'factory', 'run', 'retriever', 'vectors', 'truncate', "
        "'quantize', 'index', "
        "'query_model', 'rerank', 'finetune', 'interpolate', 'fuse'."
    ),
    "[candidates.x]": (
        "1: candidate 'x': no key sets the kind, got no key. Add one of 'kind', 'model', "
        "'sparse', 'multi_vector', 'factory', 'run', 'retriever', 'vectors', 'truncate', "
        "'quantize', 'index', "
        "'query_model', 'rerank', 'finetune', 'interpolate', 'fuse'."
    ),
    "[candidates.x]\ndtype = 'bfloat16'\nmodell = 'm'": (
        "3: candidate 'x': unknown key 'modell', and no key that sets the kind. "
        "Did you mean 'model'?"
    ),
    "[candidates.x]\nmodel = 'm'\nfrom = 'dense'": (
        "3: candidate 'x': 'from' is for a candidate that changes another one, not for a root. "
        "Remove it."
    ),
    "[candidates]\nx = 3": "2: candidate 'x': a candidate is a table, got 3. Write { … }.",
    "[candidates.x]\nfrom = 'dens'\ntruncate = 8": (
        "2: candidate 'x': no candidate 'dens'. Did you mean 'dense'?"
    ),
    "[candidates.x]\ntruncate = 8": "1: candidate 'x': 'from' is missing. Add it.",
    "[candidates.x]\nvectors = { documents = 'd.npy' }": (
        "2: candidate 'x': 'queries' is missing. Add it."
    ),
    "[candidates.x]\nvectors = 'd.npy'": (
        "2: candidate 'x': 'vectors' must be a table, got 'd.npy'."
    ),
    "[candidates.x]\nkind = 'bm52'": "2: candidate 'x': 'kind' must be 'bm25', got 'bm52'.",
    "[candidates.x]\nkind = 'bm25'\nb = 1.5": (
        "3: candidate 'x': 'b' must be at most 1.0, got 1.5."
    ),
    "[candidates.x]\nkind = 'bm25'\nk1 = nan": (
        "3: candidate 'x': 'k1' must be a finite number, got nan."
    ),
    "[candidates.x]\nmodel = 'm'\ndtype = 'fp16'": (
        "3: candidate 'x': 'dtype' must be 'auto', 'float32', 'float16' or 'bfloat16', got 'fp16'."
    ),
    "[candidates.x]\nfrom = 'words'\nrerank = { model = 'm', depth = 0 }": (
        "3: candidate 'x': 'rerank.depth' must be at least 1, got 0."
    ),
    "[candidates.x]\nfrom = 'words'\ntruncate = 8": (
        "2: candidate 'x': 'words' has no vectors to truncate. Name a dense candidate."
    ),
    "[candidates.x]\nfrom = 'words'\nrerank = { candidate = 'dens' }": (
        "3: candidate 'x': no candidate 'dens'. Did you mean 'dense'?"
    ),
    "[candidates.x]\nfrom = 'dense'\nrerank = { candidate = 'words' }": (
        "3: candidate 'x': 'words' has no vectors. Name a dense candidate."
    ),
    "[candidates.x]\nfrom = 'words'\nrerank = { depth = 9 }": (
        "3: candidate 'x': give one of 'model' (a cross-encoder) and 'candidate' "
        "(a candidate with vectors), got neither."
    ),
    "[candidates.x]\nfrom = 'words'\nrerank = { model = 'm', candidate = 'dense' }": (
        "3: candidate 'x': give one of 'model' (a cross-encoder) and 'candidate' "
        "(a candidate with vectors), got both."
    ),
    "[candidates.x]\nfrom = 'words'\nrerank = { candidate = 'dense', max_length = 9 }": (
        "3: candidate 'x': 'max_length' belongs to a cross-encoder ('model'). Remove it."
    ),
    "[candidates.x]\nfrom = 'words'\nfinetune = { data = 'sci:train' }": (
        "2: candidate 'x': 'words' has no weights to train. Name a 'model' or 'finetune' candidate."
    ),
    "[candidates.x]\nfrom = 'dense'\nfinetune = { data = 'sci:test' }": (
        "3: candidate 'x': data: 'sci:test' is the split that 'sci' is scored on. "
        "Use another split."
    ),
    "[candidates.x]\nfrom = 'dense'\nfinetune = { data = 'scy:train' }": (
        "3: candidate 'x': data: no collection 'scy'. Did you mean 'sci'?"
    ),
    "[candidates.x]\nfrom = 'dense'\nfinetune = { data = 'sci' }": (
        "3: candidate 'x': data: 'sci' is a collection without a split. Write 'sci:train'."
    ),
    "[candidates.x]\nfuse = ['dense']": (
        "2: candidate 'x': 'fuse' must be of 2 or more entries, got ['dense']."
    ),
    "[candidates.x]\nfuse = ['dense', 'dense']": (
        "2: candidate 'x': a candidate is named twice. Name each once."
    ),
    "[candidates.x]\nfuse = ['dense', 'words']\nweights = [1, 1]": (
        "3: candidate 'x': weights belong to method = \"wsum\". Remove them or change the method."
    ),
    "[candidates.x]\nfuse = ['dense', 'words']\nmethod = 'wsum'\nk = 10": (
        "4: candidate 'x': k belongs to method = \"rrf\". Remove it or change the method."
    ),
    "[candidates.x]\nfuse = ['dense', 'words']\nmethod = 'wsum'\nweights = [1]": (
        "4: candidate 'x': 2 candidates need as many weights, got [1.0]."
    ),
    "[candidates.' x']\nkind = 'bm25'": (
        "1: candidate ' x': its name must be visible text, got ' x'. Rename it."
    ),
    "[collections.more]\nsource = 3": (
        "2: collection 'more': 'source' must be text in quotes, got 3."
    ),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_is_told_with_its_line_what_was_found_and_the_fix(
    tmp_path: Path, text: str, message: str
):
    assert added(tmp_path, text) == [message]


def test_a_circle_is_told_once_and_shown(tmp_path: Path):
    text = """[candidates.a]
from = "b"
truncate = 8
[candidates.b]
fuse = ["words", "c"]
[candidates.c]
from = "words"
rerank = { candidate = "a" }
[candidates.own]
fuse = ["own", "words"]
"""
    found = [problem for problem in added(tmp_path, text) if "derived from itself" in problem]
    assert found == [
        "1: candidate 'a': derived from itself: from 'b' from 'c' from 'a'. Break the circle.",
        "9: candidate 'own': derived from itself: from 'own'. Break the circle.",
    ]


def test_a_truncation_may_not_be_wider_than_the_truncation_it_comes_from(tmp_path: Path):
    narrow = "[candidates.a]\nfrom = 'dense'\ntruncate = 8\n"
    assert added(tmp_path, narrow + "[candidates.b]\nfrom = 'a'\ntruncate = 9") == [
        "6: candidate 'b': 9 dimensions of 'a', which has 8. Give at most 8."
    ]


def test_files_for_several_collections_must_name_the_collection(tmp_path: Path):
    text = "[collections.two]\nsource = 'beir:two'\n[candidates.x]\nrun = 'x.trec'"
    assert added(tmp_path, text) == [
        (
            "4: candidate 'x': the suite has several collections, so each needs a file of its own. "
            "Write {collection} where the collection's name stands in the path."
        )
    ]


def test_what_is_missing_is_told_by_name(tmp_path: Path):
    assert problems(tmp_path, "") == [
        f"1: '{name}' is missing. Add it."
        for name in ("name", "metrics", "baseline", "collections", "candidates")
    ]


def test_empty_tables_and_lists_are_told(tmp_path: Path):
    text = "name = 'a'\nmetrics = []\nbaseline = 'b'\n[collections]\n[candidates]\n"
    assert problems(tmp_path, text) == [
        "2: 'metrics' must be of 1 or more entries, got [].",
        "4: 'collections' must be of 1 or more entries, got {}.",
        "5: 'candidates' must be of 1 or more entries, got {}.",
    ]


@pytest.mark.parametrize("value", ["3", "'x'", "[]", "[1]", "true", "{ a = 3 }", "[{ a = 1 }]"])
@pytest.mark.parametrize(
    "key", ["name", "question", "metrics", "baseline", "seed", "collections", "candidates"]
)
def test_a_value_of_any_wrong_type_is_told_and_never_crashes(tmp_path: Path, key: str, value: str):
    whole = {
        "question": "'?'",
        "seed": "3",
        "name": "'x'",
        "metrics": "['ndcg@10']",
        "baseline": "'a'",
        "collections": "{ s = { source = 'x' } }",
        "candidates": "{ a = { model = 'x' }, r = { run = 'x' }, "
        "t = { from = 'a', finetune = { data = 's:u' } } }",
    }
    if (key, value) in {("question", "'x'"), ("name", "'x'"), ("seed", "3")}:
        return
    text = "".join(f"{name} = {value if name == key else said}\n" for name, said in whole.items())
    assert problems(tmp_path, text)


def test_a_broken_collection_does_not_hide_the_check_of_its_pairs(tmp_path: Path):
    text = HEAD.replace('"beir:sci"', '"beir:sci"\nsplitt = "x"')
    text += "[candidates.x]\nfrom = 'dense'\nfinetune = { data = 'sci:test' }"
    assert [problem.partition(": ")[2] for problem in problems(tmp_path, text)] == [
        "collection 'sci': unknown key 'splitt'. Did you mean 'split'?",
        (
            "candidate 'x': data: 'sci:test' is the split that 'sci' is scored on. "
            "Use another split."
        ),
    ]


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1.0", "true"])
def test_a_seed_that_a_generator_refuses_is_told(tmp_path: Path, seed: str):
    [problem] = problems(tmp_path, HEAD.replace("[coll", f"seed = {seed}\n[coll", 1))
    assert "'seed' must be" in problem


def test_the_metrics_may_be_spelt_as_elsewhere_and_count_once(tmp_path: Path):
    text = HEAD.replace('["ndcg@10"]', '["nDCG@10", "ndcg_at_10", "recall@100"]')
    suite = suite_of(tmp_path / "suite.toml", text)
    assert [str(metric) for metric in suite.parsed_metrics()] == ["ndcg@10", "recall@100"]


def test_a_syntax_error_is_told_with_its_line(tmp_path: Path):
    assert problems(tmp_path, "name = 'a'\nmetrics = ['x'\nbaseline = 'b'\n") == [
        "3: not valid TOML, Unclosed array."
    ]
    [problem] = problems(tmp_path, "name = 'a'\n\nquestion = '''never closed\n")
    assert problem.startswith("3: not valid TOML, ")


def test_a_missing_file_suggests_its_neighbours(tmp_path: Path):
    (tmp_path / "claims.toml").write_text("")
    with pytest.raises(HarnessError) as caught:
        load_suite(tmp_path / "claim.toml")
    assert caught.value.problems == [
        f"{tmp_path}/claim.toml: no such suite file. Did you mean '{tmp_path}/claims.toml'?"
    ]


def test_a_missing_file_in_a_missing_folder_is_told(tmp_path: Path):
    with pytest.raises(HarnessError, match=r"no such suite file"):
        load_suite(tmp_path / "no" / "claims.toml")


def test_a_folder_is_refused_and_its_suites_are_told(tmp_path: Path):
    (tmp_path / "claims.toml").write_text("")
    with pytest.raises(HarnessError) as caught:
        load_suite(tmp_path)
    assert caught.value.problems == [
        f"{tmp_path}: a suite file is needed, got a folder. Known: '{tmp_path}/claims.toml'."
    ]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "suite.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(HarnessError, match="not UTF-8 text") as caught:
        load_suite(tmp_path / "suite.toml")
    assert caught.value.exit_code is ExitCode.USAGE


def test_a_suite_with_a_byte_order_mark_is_read(tmp_path: Path):
    path = tmp_path / "suite.toml"
    path.write_text("\ufeff" + GOOD, "utf-8")
    assert load_suite(path).name == load_suite(_written(tmp_path, GOOD)).name


@pytest.mark.parametrize("table", ["slices", "gates", "collections", "candidates", "training"])
@pytest.mark.parametrize("value", ["5", '"x"', "[]", "true"])
def test_what_must_be_a_table_and_is_none_is_one_sentence(tmp_path: Path, table: str, value: str):
    found = added(tmp_path, f"[{table}]\nodd = {value}\n".replace("[collections]", "[other]"))
    if table == "collections":
        found = problems(tmp_path, f"collections.odd = {value}\n{HEAD}")
    assert found
    assert all(len(problem) < 300 for problem in found)


def test_characters_that_a_terminal_obeys_and_long_values_are_not_repeated(tmp_path: Path):
    [problem] = added(tmp_path, 'rerank.x = 1\n[candidates.a]\nfrom = "\\u001b[31m"\ntruncate = 4')[
        1:
    ]
    assert r"\x1b[31m" in problem
    assert "\x1b" not in problem
    [problem] = added(tmp_path, f'[slices.a]\ncollection = "sci"\nfile = ["{"x" * 5000}"]\n')
    assert len(problem) < 300


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "plain.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'source = "beir:C:\\Users\\me"', "a backslash in double quotes begins an escape"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"a" + b".a" * 5000 + b" = 1", "nested too deeply"),
        (b"a = " + b"1" * 5000, "a number is too long"),
        (b"# one\ra = 1\r", "a line ends with a carriage return alone"),
        ("name = 'x'".encode("utf-16"), "got UTF-16. Save it as UTF-8"),
        (b"\x00\xff\xfe", "not UTF-8 text"),
    ],
)
def test_what_toml_cannot_hold_is_one_sentence(tmp_path: Path, body: bytes, message: str):
    path = tmp_path / "suite.toml"
    path.write_bytes(body)
    with pytest.raises(HarnessError) as caught:
        load_suite(path)
    (problem,) = caught.value.problems
    assert message in problem
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("path", ["a\0b", "x" * 20_000, "/dev/null"])
def test_a_path_that_is_no_file_is_refused(path: str):
    with pytest.raises(HarnessError) as caught:
        load_suite(Path(path))
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("name", ["", "..", "a\\nb", "a\\u0000b", "a\\u200bb", " a"])
def test_names_that_no_file_can_carry_are_refused(tmp_path: Path, name: str):
    text = GOOD + f'[collections."{name}"]\nsource = "beir:x"\n'
    with pytest.raises(HarnessError, match="name must be visible text"):
        load_suite(_written(tmp_path, text))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ('method = "wsum"\nweights = [0, 0]', "the largest weight must be from 0.001 to 1000"),
        ('method = "wsum"\nweights = [-1, 1]', r"negative weight .* got \[-1.0, 1.0\]"),
        ('method = "wsum"\nweights = [1e308, 1e308]', "the largest weight must be"),
        ("k = 1000000000000000000000000000000", "must be at most 1000000"),
    ],
)
def test_fusions_that_cannot_be_computed_are_refused(tmp_path: Path, method: str, message: str):
    text = GOOD + f'[candidates.fused]\nfuse = ["a", "b"]\n{method}\n'
    with pytest.raises(HarnessError, match=message):
        load_suite(_written(tmp_path, text))


def test_a_long_name_is_not_repeated_whole(tmp_path: Path):
    text = GOOD.replace('baseline = "a"', f'baseline = "{"x" * 5000}"')
    with pytest.raises(HarnessError, match=r"no candidate 'x{90,}…'\. Known: 'a', 'b'\.$"):
        load_suite(_written(tmp_path, text))


def test_a_model_that_no_folder_can_have_as_its_name_is_looked_for_elsewhere(tmp_path: Path):
    suite = load_suite(_written(tmp_path, GOOD))
    assert suite.locate_model("x" * 5000) == "x" * 5000


@pytest.mark.parametrize("metric", ["ndcg@\uff11\uff10", "ndcg@99999999999999999999"])
def test_a_metric_that_cannot_be_is_refused(tmp_path: Path, metric: str):
    with pytest.raises(HarnessError, match="metric 'ndcg@"):
        load_suite(_written(tmp_path, GOOD.replace("mrr@10", metric)))


GOOD = """name = "s"
metrics = ["mrr@10"]
baseline = "a"
[collections.c]
source = "beir:data"
[candidates.a]
kind = "bm25"
[candidates.b]
kind = "bm25"
k1 = 1.0
"""
