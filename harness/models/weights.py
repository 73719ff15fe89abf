"""Weights: a model's files, found, read and identified by their content, without loading torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.errors import usage_error
from harness.hashing import digest, file_digest
from harness.models.finding import decisive, in_hub, in_package
from harness.models.folder import AS_PUBLISHED, Choices, Folder, join
from harness.models.kinds import code_doubts, other_kind
from harness.models.prompts import role_markers
from harness.models.settings import (
    pooled_width,
    pooling_modes,
    setting_problems,
    tokenizer_problems,
)

ModelLayout = Literal[
    "sentence-transformers", "transformer", "cross-encoder", "static", "sparse", "multi-vector"
]

# Layouts with settings of sentence-transformers' own.
_DECLARING = {"sentence-transformers", "sparse", "multi-vector"}
# What transformers calls the last layers of a model for sequence classification.
_HEAD = re.compile(
    r"(^|\.)(classifier|score|classification_head|logits_proj|sequence_summary)(\.|$)"
)


@dataclass(frozen=True)
class Weights:
    """A model's files and what they declare.

    Attributes:
        reference: as the suite names it.
        folder: where the files lie.
        layout: how they are loaded.
        files: the decisive ones, paths relative to `folder`.
        key: content key of `files`; path and name are no part of it.
        dimension: width of the vectors; None for a cross-encoder or where no file says.
        max_length: tokens the model reads; None where it has no limit.
        positions: tokens that the model has positions for, at least `max_length`; None where no
            file says.
        prompts: what sentence-transformers' encode_query and encode_document put before a text, by
            role, "query" and "document"; absent where none is declared.
        unapplied: declared prompts of other names, which neither of the two applies.
        similarity: declared similarity, or None.
        parameters: number of weights; None for other formats than safetensors.
        query_parameters: those that encode a query: of a Router all but the document's branch.
        encoder_parameters: those that every token passes through: all but the embedding table.
        labels: outputs of a cross-encoder; 0 where its weights have no classification head, None
            for other layouts.
        doubts: sentences on what its files make doubtful.
        chosen: what the user said of it.
    """

    reference: str
    folder: Path = field(repr=False)
    layout: ModelLayout
    files: tuple[str, ...] = field(repr=False)
    key: str
    dimension: int | None
    max_length: int | None
    positions: int | None
    prompts: Mapping[str, str]
    similarity: str | None
    parameters: int | None
    query_parameters: int | None
    encoder_parameters: int | None
    unapplied: Mapping[str, str]
    labels: int | None
    doubts: tuple[str, ...]
    chosen: Choices = AS_PUBLISHED

    @property
    def is_static(self) -> bool:
        """Whether the vectors are means of token vectors, with no limit and nothing to pad."""
        return self.layout != "cross-encoder" and self.max_length is None

    @property
    def tokenizer(self) -> Path | None:
        """The fast tokenizer's file, or None where the model has none."""
        if self.layout == "static":
            return self.folder / StaticFiles(self.files).tokenizer
        found = [name for name in self.files if Path(name).name == "tokenizer.json"]
        return self.folder / min(found, key=len) if found else None


def find_weights(
    reference: str,
    *,
    revision: str | None = None,
    download: bool = False,
    chosen: Choices = AS_PUBLISHED,
) -> Weights:
    """Find a model's files by reference, as `find_folder`, and read what they declare.

    Raises:
        HarnessError: exit code 2, as of `find_folder` and `read_weights`.
    """
    folder, names = find_folder(reference, revision=revision, download=download)
    return read_weights(reference, folder, names, chosen=chosen)


def find_folder(
    reference: str, *, revision: str | None = None, download: bool = False
) -> tuple[Path, list[str]]:
    """Return the folder of a model and its files that decide what it computes.

    Args:
        reference: ``package:<name>[/<folder>]``, a local folder, or a hub id ``org/name``.
        revision: of a hub id.
        download: fetch a hub's model that is not in the local cache.

    Raises:
        HarnessError: exit code 2 where nothing of that name has weights, with what was looked at.
        NotDownloadedError: a hub id that is not in the local cache, and not `download`.
    """
    path = Path(reference).expanduser()
    if reference.startswith("package:"):
        return in_package(reference.removeprefix("package:"))
    if path.is_dir():
        return path, decisive(path)
    if path.exists() or reference.startswith((".", "/", "~")):
        got = "a file" if path.exists() else "nothing there"
        raise usage_error(f"'{reference}' is no folder with weights, got {got}. Check the path.")
    folder = in_hub(reference, revision=revision, download=download)
    return folder, decisive(folder)


def read_weights(
    reference: str,
    folder: Path,
    names: Iterable[str] | None = None,
    *,
    chosen: Choices = AS_PUBLISHED,
    digest_of: Callable[[Path], str] = file_digest,
) -> Weights:
    """Read what the files of a folder declare; `digest_of` returns the `file_digest` of one.

    Raises:
        HarnessError: exit code 2, the folder has no weights of a known layout.
    """
    files = decisive(folder) if names is None else names
    found = Folder(reference, folder, tuple(sorted(files)), chosen)
    for reason in other_kind(found):
        raise found.refusal(reason)
    layout = _layout(found)
    if chosen.pooling is not None and layout != "transformer":
        raise found.refusal(
            f'pooling = "{chosen.pooling}": the files of the model say how it pools. Remove it.'
        )
    if layout == "static":
        static = static_files(folder, found.files)
        found = replace(found, files=tuple(static))
        problems = list(tokenizer_problems(folder / static.tokenizer))
    else:
        problems = list(setting_problems(found))
    if problems:
        raise found.refusal(problems)
    files = found.files
    # Without modules.json, sentence-transformers reads nothing else of its own.
    declared = (
        found.table("config_sentence_transformers.json")
        if layout in _DECLARING and found.modules is not None
        else {}
    )
    sizes = {name: math.prod(shape) for name, shape in found.shapes.items()}
    elsewhere = sum(size for name, size in sizes.items() if name.startswith(found.document_parts))
    tables = [size for name, size in sizes.items() if "embed" in name]
    prompts = {name: text for name, text in declared.get("prompts", {}).items() if text is not None}
    if layout == "multi-vector":
        prompts |= role_markers(found, declared, prompts)
    said = {"pooling": chosen.pooling, "trust_remote_code": chosen.trust_remote_code}
    return Weights(
        reference=reference,
        folder=folder,
        layout=layout,
        files=files,
        key=digest(
            "weights",
            {name: digest_of(folder / name) for name in files},
            layout,
            *([said] if any(said.values()) else []),
        ),
        dimension=_dimension(layout, found),
        max_length=_max_length(layout, found),
        positions=_positions(layout, found),
        prompts={role: prompts[role] for role in ("query", "document") if role in prompts},
        similarity=declared.get("similarity_fn_name"),
        parameters=sum(sizes.values()) if sizes else None,
        query_parameters=sum(sizes.values()) - elsewhere if sizes else None,
        encoder_parameters=sum(sizes.values()) - max(tables, default=0) if sizes else None,
        unapplied={
            name: text
            for name, text in prompts.items()
            if name not in {"query", "document"} and text
        },
        labels=_labels(found) if layout == "cross-encoder" else None,
        doubts=tuple(code_doubts(found)) if layout != "static" else (),
        chosen=chosen,
    )


class StaticFiles(tuple[str, str]):
    """The two files of static embeddings: a matrix of token vectors and its tokenizer."""

    __slots__ = ()

    @property
    def weights(self) -> str:
        """The safetensors file."""
        return self[0]

    @property
    def tokenizer(self) -> str:
        """The tokenizer's JSON file."""
        return self[1]


def static_files(folder: Path, files: Iterable[str]) -> StaticFiles:
    """Return the one matrix and the one tokenizer among the files of a folder."""
    names = list(files)
    matrices = [name for name in names if Path(name).suffix == ".safetensors"]
    tokenizers = [
        name
        for name in names
        if Path(name).suffix == ".json" and {"model", "added_tokens"} <= _json(folder / name).keys()
    ]
    if len(matrices) != 1 or len(tokenizers) != 1:
        raise LookupError(f"matrices {matrices}, tokenizers {tokenizers}")
    return StaticFiles((matrices[0], tokenizers[0]))


def _layout(folder: Folder) -> ModelLayout:
    tensors = folder.tensors
    if tensors and folder.chosen.kind != "dense":
        return folder.chosen.kind
    if tensors and folder.modules is not None:
        declared = folder.table("config_sentence_transformers.json").get("model_type")
        return "cross-encoder" if declared == "CrossEncoder" else "sentence-transformers"
    names = folder.table("config.json").get("architectures") or [""]
    architecture = str(names[0]) if isinstance(names, list) else str(names)
    if tensors and "ForSequenceClassification" in architecture:
        return "cross-encoder"
    if tensors and architecture:
        return "transformer"
    try:
        files = static_files(folder.path, folder.files)
        shapes = Folder(folder.reference, folder.path, tuple(files)).shapes.values()
        if tensors and [len(shape) for shape in shapes] == [2]:
            return "static"
    except LookupError:
        pass
    found = ", ".join(sorted({Path(name).name for name in folder.files})[:6]) or "no such files"
    raise folder.refusal(
        f"{folder.path} has no weights that sentence-transformers loads, got {found}. "
        "Expected modules.json or config.json beside *.safetensors, "
        "or one token matrix with its tokenizer."
    )


def _json(path: Path) -> dict[str, Any]:
    """Return the table of a JSON file; empty where it holds none."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _dimension(layout: ModelLayout, folder: Folder) -> int | None:
    wide = [shape for shape in folder.shapes.values() if len(shape) == 2]
    if layout == "static":
        return wide[0][1]
    if layout in ("cross-encoder", "sparse"):
        return None
    for kind, path in reversed(folder.parts if layout != "transformer" else ()):
        settings = folder.table(join(path, "config.json")) if path else {}
        if kind == "Pooling":
            return int(pooled_width(settings)) * pooling_modes(settings)
        if isinstance(settings.get("out_features"), int):
            return int(settings["out_features"])
        if kind == "StaticEmbedding":
            return max(wide, key=math.prod)[1] if wide else None
    hidden = folder.table("config.json").get("hidden_size")
    return hidden if isinstance(hidden, int) else None


def _max_length(layout: ModelLayout, folder: Folder) -> int | None:
    """Return the limit that sentence-transformers applies, in tokens: of the strictest module."""
    limits = [_limit(folder, home) for home in _homes(layout, folder)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(folder: Folder, home: str) -> int | None:
    """Return the limit of the transformer that lies in a folder."""
    settings = folder.table(join(home, "sentence_bert_config.json"))
    own = settings.get("document_length") or settings.get("max_seq_length")
    if own is not None:
        return int(own)
    config = folder.table(join(home, "config.json"))
    limits = [
        value
        for value in (
            config.get("max_position_embeddings"),
            folder.table(join(home, "tokenizer_config.json")).get("model_max_length"),
        )
        # Tokenizers without a limit say so with 1e30.
        if isinstance(value, int | float) and 0 < value < 1e9
    ]
    return int(min(limits)) if limits else None


def _positions(layout: ModelLayout, folder: Folder) -> int | None:
    told = [
        folder.table(join(home, "config.json")).get("max_position_embeddings")
        for home in _homes(layout, folder)
    ]
    return min((count for count in told if isinstance(count, int) and count > 0), default=None)


def _homes(layout: ModelLayout, folder: Folder) -> Iterator[str]:
    """Yield the folders of the modules that read a text up to a limit."""
    for kind, path in folder.parts if layout != "static" else ():
        if kind != "StaticEmbedding":
            yield path


def _labels(folder: Folder) -> int:
    """Return how many outputs a cross-encoder has; 0 where its weights have no head."""
    [home, *_] = [path for kind, path in folder.parts if kind == "Transformer"] or [""]
    if folder.modules is not None:
        for kind, path in reversed(folder.parts):
            if kind == "LogitScore":
                return 1
            settings = folder.table(join(path, "config.json"))
            if kind == "Dense" and settings.get("module_output_name") == "scores":
                return int(settings["out_features"])
    names = [name.split(":", 1)[1] for name in (*folder.shapes, *folder.pickled) if ":" in name]
    if names and not any(_HEAD.search(name) for name in names):
        return 0
    config = folder.table(join(home, "config.json"))
    labels = config.get("id2label")
    if isinstance(labels, dict):
        return len(labels)
    count = config.get("num_labels", 2)  # transformers' default
    return count if isinstance(count, int) else 2
