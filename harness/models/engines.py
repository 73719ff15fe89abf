"""Engines: what computes a model's transformer on a CPU in torch's place.

The transformer is exported by tracing torch, once, and kept in the store; tokens, pooling and
whatever follows stay as they are. An export is kept only where it gives torch's own numbers for
texts of other numbers and lengths than those that were traced.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.environment import package_version
from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.models.loading import said
from harness.models.weights import Weights
from harness.store import Store

EngineName = Literal["openvino", "onnx"]
EngineInputs = Mapping[str, npt.NDArray[np.int64]]
Compute = Callable[[EngineInputs], npt.NDArray[np.float32]]
Forward = Callable[..., dict[str, Any]]

# The packages of each, the one that computes first; as many extras have the same names.
_PACKAGES: dict[EngineName, tuple[str, ...]] = {
    "openvino": ("openvino",),
    "onnx": ("onnxruntime", "onnx"),
}
# Texts that are traced, and others that are computed by both.
EXAMPLES = (
    ("a", "Two words, and a Sentence."),
    ("Some more words, and others.", "a", "b c", "word, and " * 30),
)
_LEAST_COSINE = 1 - 1e-5
_KIND = "exports"


@dataclass(frozen=True)
class Engine:
    """An engine other than torch, and the type that it computes in.

    Attributes:
        name: as a suite gives it.
        dtype: "float32", or "bfloat16" of OpenVINO.
    """

    name: EngineName
    dtype: str = "float32"

    @property
    def key(self) -> str:
        """What it is in keys: another major version may round otherwise."""
        return f"{self.dtype} {self.name} {self.version.partition('.')[0]}"

    @property
    def version(self) -> str:
        """Of its package; "0" where it is not installed, and computes nothing."""
        try:
            return package_version(_PACKAGES[self.name][0])
        except PackageNotFoundError:
            return "0"

    def __str__(self) -> str:
        return f"{self.name} {self.version} in {self.dtype}"


Arithmetic = str | Engine  # torch in a type, by its name, or another engine


def installed() -> list[EngineName]:
    """Return the engines beside torch that can be used here."""
    return [name for name in _PACKAGES if is_installed(name)]


def is_installed(name: EngineName) -> bool:
    """Tell whether all packages of an engine are installed."""
    try:
        return all(package_version(package) for package in _PACKAGES[name])
    except PackageNotFoundError:
        return False


def run_by(
    engine: Engine,
    transformer: Any,
    examples: Sequence[Mapping[str, Any]],
    *,
    weights: Weights,
    store: Store,
) -> None:
    """Let an engine compute a loaded transformer from now on.

    Args:
        engine: to use.
        transformer: sentence-transformers' module, on a CPU, in float32.
        examples: its input for the `EXAMPLES`.
        weights: that it was loaded from.
        store: which keeps exports.

    Raises:
        HarnessError: exit code 4, the engine cannot export or run it, or computes other numbers.
    """
    import torch

    try:
        way = transformer.modality_config["text"]
        output = way["method_output_name"]
        if way["method"] != "forward" or not isinstance(output, str):
            raise TypeError(f"its output is {output} of {way['method']}")  # noqa: TRY301
        some = [
            {name: value for name, value in example.items() if isinstance(value, torch.Tensor)}
            for example in examples
        ]
        names = sorted(some[0])
        packages = (*_PACKAGES[engine.name], "torch", "transformers")
        versions = [f"{package} {package_version(package)}" for package in packages]
        key = digest("export", 1, weights.key, engine.name, names, output, versions)
        if store.get(_KIND, key) is None:
            meta = {"label": f"export of {weights.reference} for {engine.name}"}
            with store.writing(_KIND, key, meta=meta) as folder:
                _export(engine.name, transformer.model, output, some[0], folder)
                exact = _in_its_place(_loaded(Engine(engine.name), folder), names, output)
                _check(exact, transformer.model, output, some)
        found = store.get(_KIND, key)
        if found is None:
            raise FileNotFoundError(f"{_KIND}/{key}")  # noqa: TRY301
        forward = _in_its_place(_loaded(engine, found.path), names, output)
    except (MemoryError, HarnessError):
        raise
    except Exception as error:
        raise HarnessError(
            f"model '{weights.reference}': {engine.name} cannot compute it: {said(error)}. "
            'Use engine = "torch".',
            exit_code=ExitCode.STAGE,
        ) from error
    transformer.model.forward = forward


def _in_its_place(compute: Compute, names: Sequence[str], output: str) -> Forward:
    """Return what a transformer's `forward` does, computed by an engine."""
    import torch

    def forward(**inputs: Any) -> dict[str, Any]:
        found = torch.from_numpy(compute({name: inputs[name].numpy() for name in names}))
        if found.ndim == 3:  # padding that attends to nothing may be NaN
            found.masked_fill_(inputs["attention_mask"][..., None] == 0, 0)
        return {output: found}

    return forward


def _export(
    name: EngineName, model: Any, output: str, example: Mapping[str, Any], folder: Path
) -> None:
    """Write what an engine reads into a folder."""
    import torch

    names = sorted(example)

    class Traced(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            inputs = dict(zip(names, tensors, strict=True))
            return self.model(**inputs, return_dict=True)[output]

    traced, tensors = Traced().eval(), tuple(example[each] for each in names)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of what is traced, which `_check` tries
        if name == "openvino":
            openvino = _openvino()
            made = openvino.convert_model(traced, example_input=tensors)
            for port, each in zip(made.inputs, names, strict=True):
                port.get_tensor().set_names({each})
            openvino.save_model(made, folder / "model.xml", compress_to_fp16=False)
            return
        # The exporter of torch.export takes ten times as long.
        torch.onnx.export(
            traced,
            tensors,
            str(folder / "model.onnx"),
            dynamo=False,
            input_names=names,
            output_names=[output],
            dynamic_axes={each: {0: "texts", 1: "tokens"} for each in names},
        )


def _loaded(engine: Engine, folder: Path) -> Compute:
    """Return what computes an exported model, with as many threads as torch."""
    import torch

    threads = torch.get_num_threads()
    if engine.name == "openvino":
        hints = {
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[engine.dtype],
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # other work may run beside
        }
        model = _openvino().Core().compile_model(folder / "model.xml", "CPU", hints)
        request = model.create_infer_request()

        def by_openvino(inputs: EngineInputs) -> npt.NDArray[np.float32]:
            return np.array(request.infer(dict(inputs), share_inputs=True, share_outputs=True)[0])

        return by_openvino
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    taken = [each.name for each in session.get_inputs()]  # without those that nothing depends on

    def by_onnxruntime(inputs: EngineInputs) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = session.run(None, {name: inputs[name] for name in taken})[
            0
        ]
        return found

    return by_onnxruntime


def _openvino() -> Any:
    """Import OpenVINO without its telemetry package, which reports each import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def _check(
    forward: Forward, model: Any, output: str, examples: Sequence[Mapping[str, Any]]
) -> None:
    """Compare with torch, token by token.

    Raises:
        ValueError: other numbers.
    """
    import torch

    for example in examples:
        with torch.inference_mode():
            wanted = model(**example, return_dict=True)[output].double()
            found = forward(**example)[output].double()
        if wanted.ndim == 3:
            wanted = wanted * example["attention_mask"][..., None]
        cosine = float(torch.nn.functional.cosine_similarity(wanted.ravel(), found.ravel(), dim=0))
        if not cosine >= _LEAST_COSINE:
            raise ValueError(f"its numbers differ from torch's, cosine {cosine:.5f}")
