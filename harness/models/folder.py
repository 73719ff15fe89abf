"""Folder: a model's files as JSON tables and headers of tensors, read without loading torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from harness.errors import ExitCode, HarnessError

# What transformers and sentence-transformers load weights from.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
INDEX = tuple(f"{name}.index.json" for name in WEIGHTS)
_TOKENIZERS = {
    *("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model"),
    *(
        "tokenizer.model",
        "spm.model",
        "vocab.bpe",
        "tekken.json",
        "bpe.codes",
        "prophetnet.tokenizer",
    ),
}
# Their letters are bytes, so there is no vocabulary to ship.
_NO_VOCABULARY = {"canine", "byt5"}


Pooling = Literal["mean", "cls", "last"]
# What a model gives for a text: one vector, weights of terms, or a vector a token.
ModelKind = Literal["dense", "sparse", "multi-vector"]


@dataclass(frozen=True)
class Choices:
    """What the user says of a model where its files leave it open.

    Attributes:
        pooling: how the vectors of tokens become one, of a transformer without a pooling of its
            own: their mean, the first token's, or the last one's.
        trust_remote_code: run the code that the folder brings.
        kind: what the model is to be loaded as.
    """

    pooling: Pooling | None = None
    trust_remote_code: bool = False
    kind: ModelKind = "dense"


AS_PUBLISHED = Choices()


@dataclass(frozen=True)
class Folder:
    """A model's folder.

    Attributes:
        reference: the model as the suite names it.
        path: of the folder.
        files: those that decide what the model computes, relative to `path`.
        chosen: what the user says of it.
    """

    reference: str
    path: Path
    files: tuple[str, ...]
    chosen: Choices = AS_PUBLISHED

    def refusal(self, problems: str | Iterable[str]) -> HarnessError:
        """Return the error that names the model before each problem."""
        listed = [problems] if isinstance(problems, str) else problems
        return HarnessError(
            [f"'{self.reference}': {problem}" for problem in listed], exit_code=ExitCode.USAGE
        )

    def json(self, name: str) -> Any:
        """Return what a JSON file holds; None where there is no such file or it holds null.

        Raises:
            HarnessError: exit code 2, it is no JSON.
        """
        path = self.path / name
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            said = str(error).splitlines()[0]
            raise self.refusal(f"{path} is not JSON: {said}. Download it again.") from None

    def table(self, name: str) -> dict[str, Any]:
        """Return the table of a JSON file; empty where there is no such file.

        Raises:
            HarnessError: exit code 2, it is no JSON or no table.
        """
        value = self.json(name)
        if isinstance(value, dict):
            return value
        if not (self.path / name).is_file():
            return {}
        raise self.refusal(
            f"{self.path / name} must hold a table {{ … }}, got {shown(value)}. Download it again."
        )

    def model_type(self, path: str) -> str | None:
        """Return the family that the configuration of a transformer names, or None."""
        value = self.table(join(path, "config.json")).get("model_type")
        return value if isinstance(value, str) else None

    def has(self, name: str) -> bool:
        """Tell whether a file is there."""
        return (self.path / name).is_file()

    @cached_property
    def modules(self) -> tuple[dict[str, str], ...] | None:
        """The modules that modules.json lists, each with type, path and name; None without one.

        Raises:
            HarnessError: exit code 2, the list is malformed.
        """
        if not self.has("modules.json"):
            return None
        place = self.path / "modules.json"
        value = self.json("modules.json")
        if not isinstance(value, list) or not value:
            raise self.refusal(
                f"{place} must list the modules, got {shown(value)}. Download it again."
            )
        problems = [
            f"{place}: module {row} needs texts for 'type', 'path' and 'name', got "
            f"{shown(module)}. Download it again."
            for row, module in enumerate(value)
            if not isinstance(module, dict)
            or not all(isinstance(module.get(key), str) for key in ("type", "path", "name"))
        ]
        if not problems:
            outside = [module["path"] for module in value if not _is_below(module["path"])]
            problems = [
                f"{place}: the path {path!r} leaves the folder. Use a path below it."
                for path in outside
            ]
            if len({module["name"] for module in value}) < len(value):
                problems.append(f"{place}: two modules have one name. Give each its own.")
        if problems:
            raise self.refusal(problems)
        return tuple(value)

    @cached_property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """(class, path) of every module, those of a Router or Asym too; a transformer's alone
        where there is no modules.json.
        """
        if self.modules is None:
            return (("Transformer", ""),)
        return tuple(
            part
            for module in self.modules
            for part in self._below(class_of(module["type"]), module["path"])
        )

    @property
    def document_parts(self) -> tuple[str, ...]:
        """How the files of the parts of Routers begin that no query passes through."""
        return tuple(
            join(module["path"], f"{part}/")
            for module in self.modules or ()
            if class_of(module["type"]) in ROUTERS
            for part in self._unasked(module["path"])
        )

    def _unasked(self, path: str) -> Iterator[str]:
        routes = self.table(self._router_file(path)).get("structure")
        asked = routes.get("query") if isinstance(routes, dict) else None
        if isinstance(asked, list):
            yield from (part for part in self._routed(path) if part not in asked)

    def types(self) -> Iterator[str]:
        """Yield the dotted name of every module's class."""
        for module in self.modules or ():
            yield module["type"]
            if class_of(module["type"]) in ROUTERS:
                yield from self._routed(module["path"]).values()

    def _below(self, name: str, path: str) -> Iterator[tuple[str, str]]:
        yield _NEW_NAMES.get(name, name), path
        if name in ROUTERS:
            for child, kind in self._routed(path).items():
                yield from self._below(class_of(kind), join(path, child))

    def _routed(self, path: str) -> Mapping[str, str]:
        """Return the dotted name of each module of a Router, by its path below the Router."""
        name = self._router_file(path)
        types = self.table(name).get("types")
        fits = isinstance(types, dict) and all(isinstance(kind, str) for kind in types.values())
        if not isinstance(types, dict) or not fits or not all(map(_is_below, types)):
            raise self.refusal(
                f"{self.path / name}: 'types' must name the class of each part, got "
                f"{shown(types)}. Download it again."
            )
        return types

    def _router_file(self, path: str) -> str:
        names = (join(path, "router_config.json"), join(path, "config.json"))
        return next((name for name in names if self.has(name)), names[0])

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor of the safetensors files, by ``file:tensor``.

        Raises:
            HarnessError: exit code 2, a file is not whole.
        """
        from safetensors import SafetensorError, safe_open

        shapes: dict[str, tuple[int, ...]] = {}
        for name in self.files:
            if Path(name).suffix != ".safetensors":
                continue
            path = self.path / name
            try:
                with safe_open(path, framework="np") as tensors:
                    for key in tensors.keys():  # noqa: SIM118 - the library's own method
                        shapes[f"{name}:{key}"] = tuple(tensors.get_slice(key).get_shape())
            except (SafetensorError, OSError, ValueError) as error:
                raise self.refusal(
                    f"{path} is not a whole safetensors file, got {path.stat().st_size} bytes "
                    f"({error}). Download it again; git clones weights with git-lfs only."
                ) from None
        return shapes

    @property
    def tensors(self) -> list[str]:
        """The files that weights are loaded from."""
        return [
            name for name in self.files if Path(name).suffix == ".safetensors" or _is_pickle(name)
        ]

    @cached_property
    def pickled(self) -> dict[str, tuple[int, ...] | str]:
        """The shape of every tensor of pickled weights that are loaded, by ``file:tensor``; for a
        file that holds anything else, what torch says of it. Nothing of a pickle is run.
        """
        safe = {Path(name).parent for name in self.files if Path(name).suffix == ".safetensors"}
        found: dict[str, tuple[int, ...] | str] = {}
        for name in self.files:
            if not _is_pickle(name) or Path(name).parent in safe:
                continue
            import torch

            try:
                table = torch.load(self.path / name, map_location="meta", weights_only=True)
                found |= {f"{name}:" + key: tuple(each.shape) for key, each in table.items()}
            except Exception as error:  # noqa: BLE001 - torch raises whatever the bytes lead to
                found[name] = (str(error).splitlines() or [type(error).__name__])[0]
        return found

    def has_tokenizer(self, path: str) -> bool:
        """Tell whether a tokenizer that transformers can load lies beside the weights."""
        if self.model_type(path) in _NO_VOCABULARY:
            return True
        declared = str(self.table(join(path, "tokenizer_config.json")).get("tokenizer_class"))
        if declared.lower().startswith(tuple(_NO_VOCABULARY)):
            return True
        home = self.path / path
        return any(
            found.name in _TOKENIZERS or found.suffix in {".model", ".tiktoken"}
            for found in home.iterdir()
        )


ROUTERS = {"Router", "Asym"}
# Of a sparse encoder's transformer, before sentence-transformers 5.4.
_NEW_NAMES = {"MLMTransformer": "Transformer"}


def class_of(dotted: str) -> str:
    """Return the last part of a dotted name.

    >>> class_of("sentence_transformers.models.Pooling")
    'Pooling'
    """
    return dotted.rsplit(".", 1)[-1]


def join(folder: str, name: str) -> str:
    """Return a path below a folder, of which "" is the model's own.

    >>> join("", "config.json"), join("1_Pooling", "config.json")
    ('config.json', '1_Pooling/config.json')
    """
    return f"{folder.rstrip('/')}/{name}" if folder else name


def shown(value: Any) -> str:
    """Return a value as JSON writes it, cut at 60 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return "a value that is nested too deeply"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _is_pickle(name: str) -> bool:
    return Path(name).suffix == ".bin" and Path(name).name.startswith("pytorch_model")


def _is_below(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    return not path.startswith(("/", "\\")) and ".." not in parts and "\0" not in path
