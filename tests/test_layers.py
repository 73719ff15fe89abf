"""What may import what, and what must not be loaded before it is needed."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import write_suite

ROOT = Path(__file__).parents[1]

# Floors. A module or package of `harness` imports from its own line or from the lines above it, and
# no two packages import each other, directly or through others.
LAYERS = [
    (
        "arrays errors hashing scratch artifact store shared_store urls stage value environment"
        " progress"
    ),
    "collection runs models providers statistics",
    "suite",
    "retrieval training synthetic",
    "plan cluster",
    "results published",
    "diagnosis decision gates judging",
    "output reports api cli __main__ app",
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

# What a package offers to others: its `__init__` and these modules; all else is its own business.
DOORS = {
    "collection": (
        "columns corpus folder frames hub judged language layout load mteb_task packed passages "
        "problem python_source raw reading remembered sample tables texts trec"
    ),
    "runs": "context formats headroom metrics run trec",
    "models": (
        "batches biencoder crossencoder engines feed finding folder in_mteb loading own prompts "
        "ragged source tokens weights"
    ),
    "providers": "asking embedding http remote reranking table",
    "statistics": (
        "claims distributions families forecast inferiority pairs posterior power seeds sequential "
        "sign_flips units unseen verdicts"
    ),
    "suite": "gates inputs kinds load mteb_tasks schema sources spec table training",
    "retrieval": (
        "embeddings encoding engine folding fusion imported index latency lengths lexical "
        "lexical_parts maxsim own precision prefix_search quantized ragged remote "
        "remote_reranking reranking retriever run_stage search shards shortlists sources space "
        "sparse"
    ),
    "training": (
        "checkpoints data finetune leak_guard losses mining reading reranker similarity trainer "
        "weights"
    ),
    "synthetic": "asking clients filters prompt realism synthesize",
    "plan": "dense execute growing kinds partial plan rates scoring",
    "cluster": "forecast pool",
    "results": "audit chunk_sizes comparison gathering learning_curve recall training values",
    "published": "better reading",
    "diagnosis": "bounds diagnose files layout values",
    "decision": "answers gather holes rules situation verdict",
    "gates": "baseline ci evaluate exact planning replay report score sequential targets",
    "judging": "estimates graders judged judges rounds values",
    "output": "atlas exchange export files folder history inspection pruning receipts",
    "reports": (
        "app audit_view decision_view diagnosis_tables diagnosis_view figures gate_view "
        "leaderboard lookup notebook plan_view plots score_view store_view stored terminal wording "
        "written"
    ),
    "api": "exports gates new steps",
}

# These take a second or more, or exist only where an extra is installed.
HEAVY = {
    "anthropic",
    "bm25s",
    "datasets",
    "faiss",
    "mlflow",
    "ir_datasets",
    "mteb",
    "numba",
    "onnx",
    "onnxruntime",
    "openai",
    "openvino",
    "plotly",
    "ranx",
    "ray",
    "s3fs",
    "sentence_transformers",
    "streamlit",
    "torch",
    "transformers",
}


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of the two packages."""
    files = [*(ROOT / "harness").rglob("*.py"), *(ROOT / "reports").rglob("*.py")]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            file.read_text("utf-8")
        )
        for file in sorted(files)
    }


@cache
def imported(tree: ast.AST) -> list[tuple[str, str]]:
    """Return (module, name in it or "") of every import below a node."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name"
            found += [(str(node.module), alias.name) for alias in node.names]
    return found


def on_loading(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield what a module imports as it is loaded: outside functions and TYPE_CHECKING."""
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from imported(node)


def part_of(module: str) -> str:
    """Return the name in `LAYERS` that a module stands under."""
    package, _, below = module.partition(".")
    return package if package != "harness" else below.partition(".")[0]


def test_every_module_has_its_layer():
    missing = sorted({part_of(module) for module in modules()} - LEVEL.keys() - {""})
    assert missing == [], f"add {missing} to LAYERS in tests/test_layers.py"


def test_no_module_imports_from_a_higher_layer():
    known = modules()
    upwards = [
        f"{module} imports {other}"
        for module, tree in known.items()
        for other, name in imported(tree)
        if other.partition(".")[0] in {"harness", "reports"}
        for target in [f"{other}.{name}" if f"{other}.{name}" in known else other]
        if part_of(module) and part_of(target)
        if LEVEL[part_of(target)] > LEVEL[part_of(module)]
    ]
    assert upwards == []


def test_no_two_packages_import_each_other():
    known = modules()
    graph: dict[str, set[str]] = {}
    for module, tree in known.items():
        for other, name in imported(tree):
            target = f"{other}.{name}" if f"{other}.{name}" in known else other
            # The front door itself loads nothing before it is used; all take the version from it.
            apart = "" not in (part_of(target), part_of(module))
            if target in known and apart and part_of(target) != part_of(module):
                graph.setdefault(part_of(module), set()).add(part_of(target))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of packages: {' imports '.join(error.args[1][::-1])}")


def test_no_two_modules_import_each_other():
    known = modules()
    graph = {
        module: {
            target
            for other, name in on_loading(tree)
            for target in (other, f"{other}.{name}")
            if target in known and target != module
        }
        for module, tree in known.items()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' imports '.join(error.args[1][::-1])}")


def crossing(known: dict[str, ast.Module]) -> Iterator[tuple[str, str, str]]:
    """Yield (module, module of another package, name in it or "") of every import across one."""
    for module, tree in known.items():
        for other, name in imported(tree):
            target, inner = (f"{other}.{name}", "") if f"{other}.{name}" in known else (other, name)
            if target in known and part_of(target) != part_of(module):
                yield module, target, inner


def test_packages_import_from_each_other_only_what_is_offered():
    known = modules()
    offered = {part: set(names.split()) for part, names in DOORS.items()}
    used: dict[str, set[str]] = {part: set() for part in offered}
    private = []
    for module, target, name in crossing(known):
        if name.startswith("_") and not name.startswith("__"):
            private.append(f"{module} imports {name} of {target}")
        below = target.removeprefix("harness.").removeprefix(part_of(target)).removeprefix(".")
        if below:
            used.setdefault(part_of(target), set()).add(below.partition(".")[0])
    assert private == []
    assert used == offered, "say in DOORS what a package offers, and no more"


def test_a_class_or_type_has_a_name_of_its_own():
    """The front door's classes are those of the same name, with what a notebook needs."""
    places: dict[str, list[str]] = {}
    for module, tree in modules().items():
        for node in () if part_of(module) == "api" else tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else node
            name = getattr(node, "name", "") if isinstance(node, ast.ClassDef) else ""
            if isinstance(target, ast.Name) and target.id[:1].isupper() and target.id != "T":
                name = target.id
            if name and not name.startswith("_"):
                places.setdefault(name, []).append(module)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_two_modules_offer_a_function_of_the_same_name_for_import():
    """Others are read with their module: `tables.scores` shows what `gathering.scores` works out.

    A verb of the front door or of the command line has the name of the function that it calls.
    """
    known = modules()
    doors = {"api", "cli"}
    found: dict[str, set[str]] = {}
    for module, tree in known.items():
        for other, name in imported(tree):
            defined = known.get(other, ast.Module([], []))
            functions = {n.name for n in defined.body if isinstance(n, ast.FunctionDef)}
            if name in functions and not doors & {part_of(module), part_of(other)}:
                found.setdefault(name, set()).add(other)
    assert {name: others for name, others in found.items() if len(others) > 1} == {}


def test_heavy_packages_are_imported_inside_the_function_that_needs_them():
    found = [
        f"{module} imports {other}"
        for module, tree in modules().items()
        for other, _ in on_loading(tree)
        if other.partition(".")[0] in HEAVY
        # Only Streamlit loads the pages of the app, and only functions load the kernels.
        if not (module.startswith("reports.app.") and other == "streamlit")
        and not module.endswith(".kernels")
    ]
    assert found == []


def test_the_pages_of_the_app_are_loaded_by_the_app_alone_and_the_kernels_by_functions():
    found = [
        f"{module} imports {other}"
        for module, tree in modules().items()
        for other, _ in on_loading(tree)
        if (other.startswith("reports.app") and not module.startswith("reports.app"))
        or "retrieval.kernels" in other
    ]
    assert found == []


def test_the_app_loads_neither_torch_nor_anything_else_that_computes():
    code = "import sys, reports.app.main\nassert 'harness.plan.plan' not in sys.modules\n"
    assert set(loaded_by(code)) <= {"plotly", "streamlit"}


LOADED = f"""
import sys
print(*sorted({HEAVY!r} & set(sys.modules)))
"""


def loaded_by(code: str, *arguments: object) -> list[str]:
    """Return the heavy packages that a fresh interpreter has loaded after some code."""
    command = [sys.executable, "-c", code + LOADED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_every_module_loads_nothing_heavy():
    everything = [name for name in modules() if name.partition(".")[0] == "harness"]
    names = [name for name in everything if not name.endswith(".kernels")]
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    assert loaded_by(code, *names) == []


PLANNED = """
import sys
from pathlib import Path
from harness.plan.plan import make_plan
from harness.store import Store
from harness.suite.load import load_suite

suite, store = load_suite(Path(sys.argv[1])), Store(Path(sys.argv[2]))
make_plan(suite, store, device="cpu", hub="refuse").left()
"""


def test_a_plan_is_made_without_loading_a_model_or_anything_heavy(
    tmp_path: Path, beir: Path, static_model: Path, bert_model: Path, cross_encoder: Path
):
    suite = write_suite(
        tmp_path / "suite.toml",
        f"""
        baseline = "static"
        collections.small.source = "beir:{beir}"
        [candidates.static]
        model = "{static_model}"
        [candidates.bert]
        model = "{bert_model}"
        [candidates.words]
        kind = "bm25"
        [candidates.reranked]
        from = "bert"
        rerank = {{ model = "{cross_encoder}" }}
        [candidates.tuned]
        from = "static"
        finetune = {{ data = "small:train", batch_size = 8 }}
        [candidates.cut]
        from = "tuned"
        truncate = 4
        [candidates.mixed]
        fuse = ["reranked", "words"]
        """,
    )
    assert loaded_by(PLANNED, suite, tmp_path / "store") == []
