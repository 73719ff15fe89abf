"""In mteb: models of the package mteb, and how its protocols are called.

Signatures: `mteb/models/models_protocols.py` and `mteb/models/get_model_meta.py` of mteb 2.26.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partialmethod
from typing import Any, Literal, NamedTuple

from harness.errors import ExitCode, HarnessError, usage_error
from harness.models import Side
from harness.models.finding import in_hub

_BATCH = 32
MtebKind = Literal["dense", "cross-encoder"]
_ELSEWHERE = {
    "dense": "It returns one vector per text",
    "cross-encoder": "It reads query and document together and returns no vectors",
    "sparse": "It returns sparse vectors",
    "late-interaction": "It returns one vector per token",
}


class MtebFacts(NamedTuple):
    """What mteb knows of a model before it is loaded.

    Attributes:
        model: its name there.
        revision: of its weights; None where mteb names none.
        mteb: the package's version.
        width: of its vectors; None where there are several, or it is not known.
        similarity: of its vectors.
        parameters: None where they are not known.
        in_hub: its weights are a hub's.
    """

    model: str
    revision: str | None
    mteb: str
    width: int | None
    similarity: Literal["cosine", "dot"]
    parameters: int | None
    in_hub: bool


def mteb_facts(reference: str, revision: str | None, *, kind: MtebKind) -> MtebFacts:
    """Return what mteb knows of ``mteb:<name>``, a model that a suite takes for a kind.

    Raises:
        HarnessError: exit code 2, mteb is not installed, does not know it, or cannot load it as
            this kind.
    """
    meta = _meta(reference.removeprefix("mteb:"), revision)
    problems = list(_problems(meta, kind))
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    width = meta.embed_dim if isinstance(meta.embed_dim, int) else None
    similarity = getattr(meta.similarity_fn_name, "value", meta.similarity_fn_name)
    local = not meta.framework or "API" in meta.framework
    return MtebFacts(
        model=meta.name,
        revision=meta.revision,
        mteb=importlib.metadata.version("mteb"),
        width=width,
        similarity="dot" if similarity == "dot" else "cosine",
        parameters=meta.n_parameters,
        in_hub=bool(meta.open_weights) and not local,
    )


def check_downloaded(name: str, revision: str | None) -> None:
    """Raise `NotDownloadedError` where a hub's model is not in the local cache."""
    in_hub(name, revision=revision, download=False)


def load(name: str, revision: str | None, *, device: str) -> Any:
    """Return the model as mteb loads it."""
    return _meta(name, revision).load_model(device=device)


@contextmanager
def quiet() -> Iterator[None]:
    """Let nothing in the block show a progress bar; some models show theirs whatever is asked."""
    from tqdm.std import tqdm  # type: ignore[import-untyped]

    before = tqdm.__init__
    tqdm.__init__ = partialmethod(before, disable=True)
    try:
        yield
    finally:
        tqdm.__init__ = before


def encode(method: Callable[..., Any], texts: Sequence[str], role: Side) -> Any:
    """Return what an encoder of mteb's protocol gives for texts of one side."""
    from mteb.types import PromptType

    columns = {"text": list(texts)}
    if role == "query":
        columns["query"] = list(texts)
    else:
        columns |= {"body": list(texts), "id": [str(row) for row in range(len(texts))]}
    return method(
        _loader(columns),
        **_task(),
        prompt_type=PromptType.query if role == "query" else PromptType.document,
        batch_size=_BATCH,
        show_progress_bar=False,
    )


def predict(method: Callable[..., Any], pairs: Sequence[tuple[str, str]]) -> Any:
    """Return what a cross-encoder of mteb's protocol gives for pairs of texts."""
    queries, documents = ([pair[side] for pair in pairs] for side in (0, 1))
    return method(
        _loader({"text": queries, "query": queries}),
        _loader({"text": documents, "body": documents}),
        **_task(),
        batch_size=_BATCH,
        show_progress_bar=False,
    )


def index(method: Callable[..., Any], ids: Sequence[str], texts: Sequence[str]) -> None:
    """Let a search of mteb's protocol index documents."""
    method(
        _dataset({"id": list(ids), "text": list(texts), "title": [""] * len(ids)}),
        **_task(),
        encode_kwargs={"batch_size": _BATCH, "show_progress_bar": False},
        num_proc=None,
    )


def search(method: Callable[..., Any], query: str, k: int) -> tuple[list[str], list[float]]:
    """Return the ids and scores that a search of mteb's protocol finds for a query."""
    found = method(
        _dataset({"id": ["query"], "text": [query]}),
        **_task(),
        top_k=k,
        encode_kwargs={"batch_size": _BATCH, "show_progress_bar": False},
        num_proc=None,
    )["query"]
    return list(found), list(found.values())


def _meta(name: str, revision: str | None) -> Any:
    import mteb

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of names that it maps itself
            return mteb.get_model_meta(name, revision)
    except (KeyError, ValueError) as error:
        words = str(error.args[0] if error.args else error).rstrip(".")
        raise usage_error(f"mteb {importlib.metadata.version('mteb')} says: {words}.") from None


def _problems(meta: Any, wanted: MtebKind) -> Iterator[str]:
    name, kinds = meta.name, [str(kind) for kind in meta.model_type]
    if wanted not in kinds:
        why = next((_ELSEWHERE[kind] for kind in kinds if kind in _ELSEWHERE), "It is another kind")
        got = f"mteb lists '{name}' as {' and '.join(kinds)}"
        yield f"{got}. {why}. Name a {wanted} model of mteb's."
    if "text" not in meta.modalities:
        yield f"'{name}' reads {' and '.join(meta.modalities)}, no text. Name a model of texts."
    if meta.loader is None:
        yield f"mteb has no code that loads '{name}'. Name another model, or use factory = …."
    similarity = getattr(meta.similarity_fn_name, "value", meta.similarity_fn_name)
    if similarity not in {None, "cosine", "dot"} and wanted == "dense" in kinds:
        yield f"'{name}' is compared by {similarity}; search is by inner product. Name another one."
    try:
        meta._check_requirements()
    except ImportError as error:
        text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        yield f"'{name}' needs packages that are not installed: {text.rstrip('.')}."


def _task() -> dict[str, Any]:
    """Return the arguments that tell a model of mteb's what the texts are for: retrieval."""
    from mteb.abstasks.task_metadata import TaskMetadata

    task = TaskMetadata(
        name="OwnCollection",
        description="Retrieval in your own collection.",
        type="Retrieval",
        dataset={"path": "none", "revision": "none"},
        eval_langs=["eng-Latn"],
        main_score="ndcg_at_10",
    )
    return {"task_metadata": task, "hf_split": "test", "hf_subset": "default"}


def _dataset(columns: dict[str, list[str]]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(columns)


def _loader(columns: dict[str, list[str]]) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(_dataset(columns), batch_size=_BATCH)
