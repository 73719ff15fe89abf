"""Loading: sentence-transformers' models without its progress bars, and with one clear error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise HarnessError(
            f"model '{weights.reference}': sentence-transformers can not load {weights.folder}: "
            f"{said}. Check that the folder is whole.",
            exit_code=ExitCode.STAGE,
        ) from error
