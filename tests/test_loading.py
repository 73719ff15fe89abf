"""Loading a model ends in a model or in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ExitCode, HarnessError
from harness.models.loading import loading
from harness.models.weights import read_weights


@pytest.mark.parametrize(
    ("error", "said"), [(RuntimeError(), "RuntimeError"), (OSError("no file\nand more"), "no file")]
)
def test_a_refusal_names_the_model_its_folder_and_the_first_line_of_the_reason(
    static_model: Path, error: Exception, said: str
) -> None:
    weights = read_weights("mine", static_model)
    with pytest.raises(HarnessError) as refused, loading(weights):
        raise error
    assert refused.value.exit_code == ExitCode.STAGE
    assert str(refused.value) == (
        f"model 'mine': sentence-transformers cannot load {static_model}: {said}. "
        "Check that the folder is whole."
    )
