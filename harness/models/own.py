"""Own: code that is not the harness's, a user's or that of the package mteb, as a model.

It runs at run time only. What it returns is checked, and what it raises is reported with its place.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.arrays import Vectors
from harness.errors import ExitCode, HarnessError
from harness.models import Side, in_mteb
from harness.models.loading import said
from harness.stage import Keyed, unkeyed
from harness.store import Store

_HERE = Path(__file__).parents[1]


@dataclass(frozen=True, eq=False)
class Code(Keyed, ABC):
    """Code that makes a model: an encoder, a cross-encoder, or a search."""

    @property
    @abstractmethod
    def name(self) -> str:
        """As the suite names it."""

    @abstractmethod
    def make(self, device: str) -> Any:
        """Run the code and return what it makes."""

    @property
    def parameters(self) -> int | None:
        """How many weights the model has; None where that is not known."""
        return None

    def weights(self, store: Store) -> None:
        """Return None: what it loads is its own business."""

    @contextmanager
    def running(self, label: str) -> Iterator[None]:
        """Tell an error of the code in the block with its place.

        Raises:
            HarnessError: exit code 4.
        """
        try:
            with in_mteb.quiet():
                yield
        except HarnessError:
            raise
        except (Exception, SystemExit) as error:
            kind = type(error).__name__
            words = said(error) if isinstance(error, Exception) else f"exit {error}"
            told = words if words.startswith(kind) else f"{kind}: {words}"
            raise failed_at_run(
                f"{label}: {self.name} fails at {_place(error)}, got {told}. "
                "Fix it there; stored results are kept."
            ) from error


@dataclass(frozen=True, eq=False)
class OwnCode(Code):
    """A function or class of a user's, which is called with the arguments of the suite.

    Attributes:
        place: ``module:function``, or ``path/to/file.py:function``.
        arguments: by name, as JSON.
        said_version: that the user raises where the code comes to give something else.
        folder: that a relative path starts at.
    """

    place: str
    arguments: str
    said_version: str
    folder: Path = field(metadata=unkeyed("the version stands for the code, wherever it lies"))

    @property
    def name(self) -> str:
        """As the suite names it."""
        return self.place

    @property
    def file(self) -> Path | None:
        """The file that it names; None where it names a module."""
        where = self.place.rpartition(":")[0]
        return self.folder / Path(where).expanduser() if where.endswith(".py") else None

    def problems(self) -> Iterator[str]:
        """Yield why it cannot be found, as far as that is known before any of its code runs."""
        where = self.place.rpartition(":")[0]
        if self.file is not None:
            if not self.file.is_file():
                yield f"factory: no file '{self.file}'. Give a path relative to the suite file."
            return
        try:
            known = importlib.util.find_spec(where.partition(".")[0]) is not None
        except (ImportError, ValueError):
            known = False
        if not known:
            yield (
                f"factory: no module '{where}' is installed. Install it, or give the file: "
                f'"path/to/file.py:{self.place.rpartition(":")[2]}".'
            )

    def make(self, device: str) -> Any:  # noqa: ARG002  the arguments say it
        """Call the function."""
        where, _, function = self.place.rpartition(":")
        module = importlib.import_module(where) if self.file is None else module_of(self.file)
        return getattr(module, function)(**json.loads(self.arguments))


@dataclass(frozen=True, eq=False)
class MtebModel(Code):
    """A model that the installed package mteb loads by its name.

    Attributes:
        model: its name there.
        revision: as mteb knows it.
        mteb: the package's version.
        parameters: as mteb knows them.
    """

    model: str
    revision: str | None
    mteb: str
    parameters: int | None = field(default=None, metadata=unkeyed("the revision says it"))

    @property
    def name(self) -> str:
        """As the suite names it."""
        return f"mteb:{self.model}"

    def make(self, device: str) -> Any:
        """Load the model."""
        return in_mteb.load(self.model, self.revision, device=device)


class OwnEncoder:
    """An encoder made by code that is not the harness's.

    It follows sentence-transformers (`encode_query` and `encode_document`, or `encode`, of a list
    of texts) or mteb's `EncoderProtocol`.

    Args:
        code: that makes it.
        label: begins messages.
        device: torch's name of the device.

    Attributes:
        width: of all its vectors; None before the first ones.

    Raises:
        HarnessError: exit code 4, the code fails or makes no encoder.
    """

    def __init__(self, code: Code, *, label: str, device: str) -> None:
        self._code = code
        self.width: int | None = None
        with code.running(label):
            self._model = code.make(device)
        if not callable(getattr(self._model, "encode", None)) and not all(
            callable(getattr(self._model, f"encode_{side}", None)) for side in ("query", "document")
        ):
            raise failed_at_run(
                f"{label}: {code.name} returns no encoder, got {_kind(self._model)} without "
                "'encode'." + _instead(self._model)
            )

    def feed(self, *, role: Side, prompt: str) -> None:
        """Return None: it reads texts."""

    def encode(
        self, texts: Sequence[str], *, role: Side, prompt: str = "", label: str = "encode"
    ) -> Vectors:
        """Return vectors, float32 [n, width].

        Raises:
            HarnessError: exit code 4, the code fails, or gives anything else.
        """
        given = [prompt + text for text in texts]
        by_role = getattr(self._model, f"encode_{role}", None)
        encode: Callable[..., Any] = by_role if callable(by_role) else self._model.encode
        with self._code.running(label):
            found = in_mteb.encode(encode, given, role) if is_of_mteb(encode) else encode(given)
            values = as_array(found)
        wrong = _not_vectors(values, len(given))
        if wrong is not None:
            raise failed_at_run(f"{label}: {self._code.name} {wrong}")
        width = values.shape[1]
        if self.width not in (None, width):
            raise failed_at_run(
                f"{label}: {self._code.name} returns vectors of {width} dimensions, but returned "
                f"{self.width} before. Return one width; if the code has changed, change the "
                "version."
            )
        self.width = width
        return values.astype(np.float32)


class OwnCrossEncoder:
    """A cross-encoder made by code that is not the harness's: `predict` of pairs, or mteb's.

    Args:
        code: that makes it.
        label: begins messages.
        device: torch's name of the device.

    Raises:
        HarnessError: exit code 4, the code fails or makes none.
    """

    def __init__(self, code: Code, *, label: str, device: str) -> None:
        self._code = code
        with code.running(label):
            self._model = code.make(device)
        if not callable(getattr(self._model, "predict", None)):
            raise failed_at_run(
                f"{label}: {code.name} returns no cross-encoder, got {_kind(self._model)} without "
                "'predict'. Give it predict(pairs), which returns a score for each pair."
            )

    def feed(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Return None: it reads texts."""

    def score(
        self, pairs: Sequence[tuple[str, str]], *, label: str = "score"
    ) -> npt.NDArray[np.float32]:
        """Return a score for each pair, float32 [n].

        Raises:
            HarnessError: exit code 4, the code fails, or gives anything else.
        """
        predict = self._model.predict
        with self._code.running(label):
            if is_of_mteb(predict):
                found = in_mteb.predict(predict, pairs)
            else:
                found = predict([tuple(pair) for pair in pairs])
            scores = as_array(found)
        if scores.shape == (len(pairs), 1):
            scores = scores[:, 0]
        if scores.shape != (len(pairs),):
            got = f"returns an array of the shape {scores.shape} for {len(pairs)} pairs"
            raise failed_at_run(f"{label}: {self._code.name} {got}. Return one score per pair.")
        if scores.dtype.kind not in "fiub" or not np.isfinite(scores.astype(np.float64)).all():
            got = "returns scores that are NaN, infinite or not numbers"
            raise failed_at_run(f"{label}: {self._code.name} {got}. Return finite numbers.")
        return scores.astype(np.float32)


def as_array(values: Any) -> npt.NDArray[Any]:
    """Return what code returned as an array; tensors of any device, lists of either too."""
    if isinstance(values, list | tuple) and values and hasattr(values[0], "detach"):
        values = [as_array(each) for each in values]
    if hasattr(values, "detach"):
        values = values.detach().cpu().float().numpy()
    return np.asarray(values)


def failed_at_run(message: str) -> HarnessError:
    """Return the error of a stage that fails at run time."""
    return HarnessError(message, exit_code=ExitCode.STAGE)


def _not_vectors(values: npt.NDArray[Any], count: int) -> str | None:
    """Return what is wrong with vectors of so many texts, or None."""
    if values.dtype.kind not in "fiub":
        return "returns no numbers, or rows of several widths. Return one array of floats."
    if values.ndim != 2 or len(values) != count or not values.shape[1]:
        got = f"returns an array of the shape {values.shape} for {count} texts"
        return f"{got}. Return one row per text."
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32)).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        return (
            f"returns NaN or infinite numbers for {count - int(finite.sum())} of {count} texts, "
            f"the first in row {row}. Return finite numbers."
        )
    return None


def _kind(value: Any) -> str:
    return f"an object of the class '{type(value).__name__}'"


def _instead(value: Any) -> str:
    """Return where a thing of another kind belongs."""
    if callable(getattr(value, "predict", None)):
        return " It is a cross-encoder: write rerank = { factory = …, version = … }."
    if callable(getattr(value, "search", None)):
        return " It is a search: write retriever = { factory = …, version = … }."
    return " Give it encode(texts), which returns one row per text."


def is_of_mteb(method: Callable[..., Any]) -> bool:
    """Tell whether a method is called as mteb calls it, by its parameters."""
    try:
        return "task_metadata" in inspect.signature(method).parameters
    except (TypeError, ValueError):
        return False


def module_of(path: Path) -> Any:
    """Return the module in a file; what lies beside it can be imported by it."""
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no module in {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look for it
    spec.loader.exec_module(module)
    return module


def _place(error: BaseException) -> str:
    """Return the file and line of an error: the last of code that is no installed package."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not Path(frame.filename).is_relative_to(_HERE) and not frame.filename.startswith("<")
    ]
    if not frames:
        return "its first line"
    installed = ("site-packages", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    own = [frame for frame in frames if not any(part in frame.filename for part in installed)]
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"
