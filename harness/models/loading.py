"""Loading: sentence-transformers' models without its progress bars, and with one clear error.

Most of what can be wrong with a folder is found by its files beforehand; what only the libraries
find must read as a sentence, too, whatever kind of error they raise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import ExitCode, HarnessError
from harness.models.weights import Weights

_Print = tuple[tuple[int, ...], bytes]
_IN_A_LAYER = re.compile(r"\.\d+\.")
_ROWS = 2  # that tell a matrix from the others


@contextmanager
def loading(weights: Weights) -> Iterator[None]:
    """Load a model's weights within the block.

    Raises:
        HarnessError: exit code 4, sentence-transformers refuses the folder.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        yield
    except (MemoryError, HarnessError):
        raise
    except Exception as error:
        fix = "Check that the folder is whole."
        if "trust_remote_code" in str(error):
            fix = (
                "It needs custom code, which is not run by default: set trust_remote_code = true, "
                'or give precomputed vectors: vectors = { documents = "…", queries = "…" }.'
            )
        if "ignore_mismatched_sizes" in str(error):
            fix = "Its weights do not have the shapes of config.json: use the files of one model."
        raise HarnessError(
            f"model '{weights.reference}': sentence-transformers cannot load {weights.folder}: "
            f"{said(error)}. {fix}",
            exit_code=ExitCode.STAGE,
        ) from error


def refuse_random(weights: Weights, model: Any) -> None:
    """Refuse a transformer that was loaded with random numbers in the place of what it has learned.

    transformers makes new weights where it finds none of the name that it looks for, and only
    logs it; the table of embeddings, or a matrix of a layer, is then none of the tensors of the
    folder; of a sparse encoder the head counts, too. A matrix whose shape no tensor has was put
    together of several, and is not looked at.

    Args:
        weights: what was loaded.
        model: transformers' model, or None where there is none.

    Raises:
        HarnessError: exit code 2, the names of the weights do not fit the configuration.
    """
    files = [name for name in weights.files if name.endswith(".safetensors")]
    if model is None or not files:
        return
    layers = {
        name: each
        for name, each in model.named_parameters()
        if each.ndim == 2 and (_IN_A_LAYER.search(name) or weights.layout == "sparse")
    }
    shapes, held = _held(weights, files, model.dtype)
    try:
        table = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        table = None
    lost = [] if table is None or _print(table) in held else ["the table of embeddings"]
    lost += [
        name
        for name, each in layers.items()
        if tuple(each.shape) in shapes and _print(each) not in held
    ]
    if lost:
        raise HarnessError(
            f"model '{weights.reference}': {weights.folder} holds no weights under the names that "
            f"config.json leads to ({lost[0]}), so the model would be random. Use the files of one "
            "model.",
            exit_code=ExitCode.USAGE,
        )


def _held(
    weights: Weights, files: list[str], dtype: Any
) -> tuple[set[tuple[int, ...]], set[_Print]]:
    """Return the shapes of all tensors of some files, and what tells each from the others."""
    from safetensors import safe_open

    shapes: set[tuple[int, ...]] = set()
    held: set[_Print] = set()
    for name in files:
        with safe_open(weights.folder / name, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - the library's own method
                part = tensors.get_slice(key)
                shape = tuple(part.get_shape())
                if len(shape) == 2:
                    shapes.add(shape)
                    held.add(_print(part[:_ROWS].to(dtype), shape))
    return shapes, held


def _print(matrix: Any, shape: tuple[int, ...] | None = None) -> _Print:
    """Return the shape of a matrix, and the numbers of its first rows in the type they are in."""
    rows = matrix.detach()[:_ROWS].float().cpu().contiguous()
    return shape or tuple(matrix.shape), rows.numpy().tobytes()


@contextmanager
def computing(weights: Weights) -> Iterator[None]:
    """Run a loaded model within the block.

    Raises:
        HarnessError: exit code 4, the model fails on its input.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise HarnessError(
            f"model '{weights.reference}' fails on a batch of texts: {said(error)}. Check that "
            f"the files of {weights.folder} belong together, and that the device has memory left.",
            exit_code=ExitCode.STAGE,
        ) from error


def said(error: Exception) -> str:
    """Return the first line of an error, or the name of its kind where it has no words."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (text if len(text) > 3 else f"{type(error).__name__} {text}".strip()).rstrip(".:!")[:300]
