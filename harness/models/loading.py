"""Loading: sentence-transformers' models without its progress bars, and with one clear error.

Most of what can be wrong with a folder is found by its files beforehand; what only the libraries
find must read as a sentence, too, whatever kind of error they raise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import ExitCode, HarnessError
from harness.models.weights import Weights


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
                "It needs custom code, and custom code is not run here. Give vectors made "
                'elsewhere: vectors = { documents = "…", queries = "…" }.'
            )
        if "ignore_mismatched_sizes" in str(error):
            fix = "Its weights have other shapes than config.json says: use the files of one model."
        raise HarnessError(
            f"model '{weights.reference}': sentence-transformers cannot load {weights.folder}: "
            f"{_said(error)}. {fix}",
            exit_code=ExitCode.STAGE,
        ) from error


def refuse_random(weights: Weights, model: Any) -> None:
    """Refuse a transformer that was loaded with random numbers in the place of its embeddings.

    transformers makes new weights where it finds none of the name that it looks for, and only
    logs it; the table of embeddings is then none of the tensors of the folder.

    Args:
        weights: what was loaded.
        model: transformers' model, or None where there is none.

    Raises:
        HarnessError: exit code 2, the names of the weights do not fit the configuration.
    """
    from safetensors import safe_open

    files = [name for name in weights.files if name.endswith(".safetensors")]
    if model is None or not files:
        return
    try:
        table = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return
    for name in files:
        with safe_open(weights.folder / name, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - the library's own method
                part = tensors.get_slice(key)
                if tuple(part.get_shape()) == tuple(table.shape):
                    rows = part[:4].to(table.device, table.dtype)
                    if bool((rows == table[:4]).all()):
                        return
    raise HarnessError(
        f"model '{weights.reference}': {weights.folder} holds no weights under the names that "
        "config.json leads to, so the model would be random. Use the files of one model.",
        exit_code=ExitCode.USAGE,
    )


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
            f"model '{weights.reference}' fails on a batch of texts: {_said(error)}. Check that "
            f"the files of {weights.folder} belong together, and that the device has memory left.",
            exit_code=ExitCode.STAGE,
        ) from error


def _said(error: Exception) -> str:
    """Return the first line of an error, or the name of its kind where it has no words."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return (text if len(text) > 3 else f"{type(error).__name__} {text}".strip()).rstrip(".:!")[:300]
