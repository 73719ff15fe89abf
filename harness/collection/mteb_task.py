"""Tasks of mteb: texts and judgements of those that search, and the score of others by mteb.

Interfaces: `mteb/abstasks/` and `mteb/_create_dataloaders.py` of mteb 2.26. A document is its title
and text, a query its text and its instruction, both joined by mteb. A reranking task is a retrieval
task whose queries each rank a list of documents. Clustering, pair classification and semantic
similarity have no queries: mteb's own evaluator scores the vectors that it is given.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.collection.packed import places_of
from harness.collection.raw import MtebTask, RawCollection, RawJudgements, RawSplit, RawTexts
from harness.errors import ExitCode, HarnessError, did_you_mean, first_of, usage_error
from harness.hashing import file_digest
from harness.models.in_mteb import quiet
from harness.models.loading import said
from harness.models.own import module_of
from harness.stage import unkeyed

SOURCE = "mteb"
_SCORED = ("Clustering", "PairClassification", "STS")  # mteb's types, scored by its evaluators
_BATCH = 1024  # texts that are joined at a time
_NO_LINES = np.empty(0, dtype=np.int32)


class TaskPlace(NamedTuple):
    """What stands behind ``mteb:``.

    Attributes:
        code: the module, or the file that ends in ``.py``, of a task of one's own; "" for one that
            mteb knows by its name.
        name: of the task, or of the class in that code.
        subset: of its data; "" where none is named.
    """

    code: str
    name: str
    subset: str


def task_place(text: str) -> TaskPlace:
    """Return the parts of a place.

    >>> task_place("MIRACLRetrieval/de")
    TaskPlace(code='', name='MIRACLRetrieval', subset='de')
    >>> task_place("tasks/help.py:HelpPages")
    TaskPlace(code='tasks/help.py', name='HelpPages', subset='')
    """
    code, _, task = text.rpartition(":")
    name, _, subset = task.partition("/")
    return TaskPlace(code, name, subset)


def read_task(text: str, split: str | None) -> RawCollection:
    """Read one split of a retrieval or reranking task: from the local cache, else the network.

    Args:
        text: ``<task>[/<subset>]``, ``<module>:<class>[/<subset>]`` or the same with a file.
        split: to read; None takes "test", or the only one that mteb scores.

    Raises:
        HarnessError: exit code 2, there is no such task, subset or split, or mteb scores it in a
            way that is not a search; 3, its data cannot be had.
    """
    where = f"{SOURCE}:{text}"
    with _quiet():
        task, place, split = _opened(text, split)
        if problem := _no_search(task):
            raise usage_error(f"{where}: {problem}")
        _load(task, place, split, where)
        task.convert_v1_dataset_format_to_v2(num_proc=None)
        data = task.dataset[place.subset][split]
        return _collection(
            task, data, TaskPlace("", task.metadata.name, place.subset), split, where
        )


@dataclass(frozen=True)
class ScoredTask:
    """A task that mteb scores by its own evaluator, before its data are loaded.

    Attributes:
        source: as the suite names it.
        name, kind, subset, main_score, instruction: as of `MtebTask`.
        split: that is scored.
        data: path and revision of its data.
        mteb: the package's version.
        code: content key of the file that holds its class; "" for one of mteb's.
    """

    source: str = field(metadata=unkeyed("`code` and the names say what it is"))
    name: str
    kind: str
    subset: str
    split: str
    main_score: str
    instruction: str
    data: tuple[str, str]
    mteb: str
    code: str


def scored_task(text: str, split: str | None) -> ScoredTask:
    """Return what is known of a task that is no search, without loading its data.

    Args:
        text: as of `read_task`.
        split: as of `read_task`.

    Raises:
        HarnessError: exit code 2, there is no such task, or it is of another kind.
    """
    with _quiet():
        task, place, split = _opened(text, split)
    metadata = task.metadata
    if metadata.type not in _SCORED or set(metadata.modalities) != {"text"}:
        fix = "is scored by mteb.evaluate" if _no_search(task) else "belongs in [collections]"
        raise usage_error(
            f"{SOURCE}:{text}: a task of the type {metadata.type} {fix}. [tasks] takes texts of "
            f"{', '.join(_SCORED)}."
        )
    return ScoredTask(
        source=text,
        name=metadata.name,
        kind=metadata.type,
        subset=place.subset,
        split=split,
        main_score=metadata.main_score,
        instruction=_instruction(task),
        data=(str(metadata.dataset["path"]), str(metadata.dataset["revision"])),
        mteb=importlib.metadata.version("mteb"),
        code=file_digest(Path(inspect.getfile(type(task)))) if place.code else "",
    )


def score_task(task: ScoredTask, encoder: Any) -> float:
    """Return the main score that mteb gives an encoder of its protocol.

    Raises:
        HarnessError: exit code 3, its data cannot be had; 4, mteb fails or has no score.
    """
    where = f"{SOURCE}:{task.source}"
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened, place, split = _opened(task.source, task.split)
        _load(opened, place, split, where)
        try:
            found = opened.evaluate(
                encoder, split, [place.subset], encode_kwargs={"show_progress_bar": False}
            )
        except HarnessError:
            raise
        except Exception as error:
            problem = f"mteb cannot score it, got {said(error)}. Correct the task's data."
            raise HarnessError(f"{where}: {problem}", exit_code=ExitCode.STAGE) from error
    score = float(found[place.subset]["main_score"])
    if not math.isfinite(score):
        problem = f"its {task.main_score} is {score}. Check that its labels differ."
        raise HarnessError(f"{where}: {problem}", exit_code=ExitCode.STAGE)
    return score


def _opened(text: str, split: str | None) -> tuple[Any, TaskPlace, str]:
    """Return a task whose data are not loaded, its place with its subset, and its split."""
    place, where = task_place(text), f"{SOURCE}:{text}"
    task = _task(place, where)
    if task.is_aggregate:
        names = first_of([each.metadata.name for each in task.metadata.tasks])
        raise usage_error(f"{where}: it is an average over tasks ({names}). Name each by itself.")
    place = place._replace(subset=_subset(task, place, where))
    return task, place, _split(task, split, where)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let mteb and datasets write nothing: no bars, no hints."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with quiet():
            yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _task(place: TaskPlace, where: str) -> Any:
    """Return the task, not loaded yet."""
    import mteb

    if not place.code:
        try:
            return mteb.get_task(place.name)
        except KeyError as error:
            words = str(error.args[0]).removeprefix("KeyError: ")
            raise usage_error(
                f"{where}: mteb {importlib.metadata.version('mteb')} says: {words} A task of your "
                'own is named by its code: "mteb:path/to/file.py:Class".'
            ) from None
    try:
        is_file = place.code.endswith(".py")
        module = module_of(Path(place.code)) if is_file else importlib.import_module(place.code)
    except Exception as error:
        fix = 'Give an installed module, or a file: "mteb:path/to/file.py:Class".'
        raise usage_error(
            f"{where}: cannot import '{place.code}', got {said(error)}. {fix}"
        ) from error
    made = getattr(module, place.name, None)
    if not (isinstance(made, type) and issubclass(made, mteb.AbsTask)):
        classes = [
            name
            for name, each in vars(module).items()
            if isinstance(each, type)
            and issubclass(each, mteb.AbsTask)
            and each.__module__ == module.__name__
        ]
        hint = did_you_mean(place.name, classes)
        raise usage_error(
            f"{where}: '{place.code}' has no task of mteb named '{place.name}'.{hint}"
        )
    return made()


def _no_search(task: Any) -> str:
    """Return why a task is no search of texts that is computed here; "" where it is one."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    kind, modalities = task.metadata.type, task.metadata.modalities
    if set(modalities) != {"text"}:
        return f"it is of {' and '.join(modalities)}. Name a task of texts."
    if kind in _SCORED:
        return (
            f"it is of the type {kind} and has no queries. Name it in [tasks.<name>], where mteb "
            "scores the vectors of candidates."
        )
    if not isinstance(task, AbsTaskRetrieval):
        return f"it is of the type {kind}, not a retrieval task. Score it by mteb.evaluate."
    if task.skip_first_result:
        return "mteb ignores each query's first result. Name another task."
    return ""


def _subset(task: Any, place: TaskPlace, where: str) -> str:
    known = task.metadata.hf_subsets
    if place.subset in known:
        return place.subset
    if not place.subset and len(known) == 1:
        return str(known[0])
    names = first_of(sorted(known), most=12)
    if not place.subset:
        problem = f"it has the subsets {names}. Name one: {where}/{known[0]}."
    else:
        problem = f"no subset '{place.subset}', got {names}.{did_you_mean(place.subset, known)}"
    raise usage_error(f"{where}: {problem}")


def _split(task: Any, split: str | None, where: str) -> str:
    known = list(task.eval_splits)
    chosen = split or ("test" if "test" in known or len(known) != 1 else known[0])
    if chosen in known:
        return str(chosen)
    listed = ", ".join(f"'{each}'" for each in known)
    raise usage_error(f"{where}: mteb scores {listed}, not '{chosen}'. Set split to one of them.")


def _load(task: Any, place: TaskPlace, split: str, where: str) -> None:
    """Load the data of a subset's split.

    Raises:
        HarnessError: exit code 3.
    """
    task.filter_languages(None, hf_subsets=[place.subset])
    task.filter_eval_splits([split])
    try:
        task.load_data()
    except Exception as error:
        got = said(error)
        if place.code:
            problem = f"its load_data fails, got {got}. Fix it there."
        else:
            data = task.metadata.dataset
            lies = f"'{data['path']}' at revision {str(data['revision'])[:12]}"
            offline = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("HF_DATASETS_OFFLINE")
            fix = (
                "Unset HF_HUB_OFFLINE to fetch it, or copy the cache of a machine that has it."
                if offline
                else "Check the network, and access to it at the hub."
            )
            problem = f"its data {lies} cannot be loaded, got {got}. {fix}"
        raise HarnessError(f"{where}: {problem}", exit_code=ExitCode.DATA) from error


def _collection(
    task: Any, data: Mapping[str, Any], place: TaskPlace, split: str, where: str
) -> RawCollection:
    metadata, lists = task.metadata, data.get("top_ranked")
    judged = {str(query): grades for query, grades in data["relevant_docs"].items() if grades}
    queries = _texts(data["queries"], metadata, "query", f"{where}, queries")
    documents = _texts(data["corpus"], metadata, "document", f"{where}, corpus")
    rows = [
        (query, str(key), int(grade)) for query in judged for key, grade in judged[query].items()
    ]
    return RawCollection(
        source=where,
        documents=documents,
        splits={
            split: RawSplit(
                queries,
                RawJudgements(
                    file=f"{where}, judgements",
                    query_ids=tuple(query for query, _, _ in rows),
                    document_ids=tuple(document for _, document, _ in rows),
                    grades=np.array([grade for _, _, grade in rows], dtype=np.int32),
                    lines=_NO_LINES,
                ),
                None if lists is None else _shortlists(lists, documents, where),
            )
        },
        licence=metadata.license or "",
        notes=tuple(_notes(judged, where)),
        task=MtebTask(
            name=place.name,
            kind=metadata.type,
            subset=place.subset,
            main_score=metadata.main_score,
            instruction=_instruction(task),
            languages=tuple(metadata.hf_subsets_to_langscripts[place.subset]),
            excludes_identical_ids=bool(task.ignore_identical_ids),
        ),
    )


def _texts(dataset: Any, metadata: Any, side: str, file: str) -> RawTexts:
    """Return the texts of one side as a model of mteb's reads them.

    Raises:
        HarnessError: exit code 3, mteb cannot read them.
    """
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    ids: list[str] = []
    texts: list[str] = []
    try:
        loader = create_dataloader(
            dataset, task_metadata=metadata, prompt_type=PromptType[side], batch_size=_BATCH
        )
        for batch in loader:
            ids += map(str, batch["id"])
            texts += batch["text"]
    except Exception as error:
        raise HarnessError(
            f"{file}: mteb cannot read them, got {said(error)}. Correct the task's data.",
            exit_code=ExitCode.DATA,
        ) from error
    return RawTexts(file, tuple(ids), tuple(texts), _NO_LINES)


def _shortlists(
    lists: Mapping[str, Sequence[str]], documents: RawTexts, where: str
) -> dict[str, tuple[str, ...]]:
    """Return each query's documents.

    Raises:
        HarnessError: exit code 3, a list names a document that is not in the corpus.
    """
    unknown = {str(key) for keys in lists.values() for key in keys} - documents.rows.keys()
    if unknown:
        raise HarnessError(
            f"{where}: lists of documents to rank name {len(unknown):,} that the corpus lacks "
            f"({first_of(sorted(unknown))}). Correct the task's data.",
            exit_code=ExitCode.DATA,
        )
    return {str(query): tuple(map(str, keys)) for query, keys in lists.items()}


def shortlist_rows(
    part: RawSplit, query_ids: tuple[str, ...], document_ids: Sequence[str], *, apart: bool
) -> npt.NDArray[np.int32] | None:
    """Return the rows of each query's documents, int32 [n_queries, longest] ending in -1.

    Args:
        part: of the source.
        query_ids: judged.
        document_ids: of the corpus.
        apart: the document with the query's id is left out.
    """
    if part.shortlists is None:
        return None
    names = list(dict.fromkeys(chain.from_iterable(part.shortlists.values())))
    rows = dict(zip(names, places_of(document_ids, names).tolist(), strict=True))
    lists = [
        sorted({rows[each] for each in part.shortlists.get(key, ()) if not (apart and each == key)})
        for key in query_ids
    ]
    found = np.full((len(lists), max(map(len, lists))), -1, dtype=np.int32)
    for row, mine in enumerate(lists):
        found[row, : len(mine)] = mine
    return found


def _notes(judged: Mapping[str, Mapping[str, int]], where: str) -> Iterable[str]:
    left = sum(max(grades.values()) < 1 for grades in judged.values())
    if left:
        yield (
            f"{where}: mteb scores {left:,} of {len(judged):,} queries 0, since they have no "
            "relevant document; they are left out here. mteb's score is this one times "
            f"{len(judged) - left:,} / {len(judged):,}."
        )


def _instruction(task: Any) -> str:
    """Return what mteb gives its models with instructions for the queries of a task.

    As `AbsEncoder.get_instruction` of mteb.
    """
    prompt = task.metadata.prompt
    if isinstance(prompt, dict):
        return str(prompt.get("query", ""))
    return str(prompt or task.abstask_prompt)
