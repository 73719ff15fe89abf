"""Environment: which device, and which versions, a result was made with."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.errors import ExitCode, HarnessError

__version__ = "0.1.0"

_GPU_OPERATIONS = 50e12  # a second, a modest guess of what encoding reaches on one

PACKAGES = (
    "embedding-harness",
    "bm25s",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
    "onnxruntime",
    "openvino",
    "pandas",
    "ranx",
    "scipy",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)


def resolve_device(asked: str) -> str:
    """Return torch's name of the device; "auto" takes the GPU where there is one.

    Raises:
        HarnessError: exit code 2, the device is not there.
    """
    if asked == "auto" and not _gpus():
        return "cpu"  # decided without loading torch
    if asked == "cpu":
        return asked
    import torch

    if torch.cuda.is_available():
        return "cuda" if asked == "auto" else asked
    if asked == "auto":
        return "cpu"
    raise HarnessError(
        f"device {asked}: torch {torch.__version__} sees no GPU. Use --device cpu (in Python: "
        'device="cpu").',
        exit_code=ExitCode.USAGE,
    )


def today() -> str:
    """Return the date, as it is stored with every timing."""
    return dt.datetime.now(dt.UTC).date().isoformat()


@cache
def device_name(device: str) -> str:
    """Return the device as people know it, with the number of CPU threads.

    A timing belongs to the device, so this name is stored with every timing.
    """
    if device.startswith("cuda"):
        number = int(device.partition(":")[2] or 0)
        return dict(enumerate(_gpus())).get(number, device)
    return f"{_cpu_model()}, {cpu_threads()} threads"


def operations_per_second() -> float:
    """Return a modest guess of the arithmetic that encoding reaches, for estimates of time.

    It is a quarter of what products of matrices reach: encoding also reads memory, and cuts and
    pads its texts. Measuring it here is no use: on a busy machine it varies a hundredfold.
    """
    return _GPU_OPERATIONS if _gpus() else 13e9 * cpu_threads()


def gpu_speed(gpus: float) -> float:
    """Return by how much a time guessed for this machine changes on so many GPUs elsewhere."""
    return operations_per_second() / (gpus * _GPU_OPERATIONS)


def cpu_threads() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def vector_memory() -> int:
    """Return the bytes of vectors that a search may hold: $HARNESS_MEMORY, or a quarter of all.

    More is read from disk block by block.

    Raises:
        HarnessError: exit code 2, the variable holds no size.
    """
    given = os.environ.get("HARNESS_MEMORY", "").strip()
    if not given:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    size = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)B?", given.upper())
    if size is None:
        raise HarnessError(
            f"HARNESS_MEMORY: a size is needed, got '{given}'. For example 4GB.",
            exit_code=ExitCode.USAGE,
        )
    return int(float(size[1]) * 1024 ** " KMGT".index(size[2] or " "))


@cache
def _gpus() -> list[str]:
    """Return the models of NVIDIA's GPUs as the driver tells them, without loading torch."""
    models = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = path.read_text("utf-8").splitlines()
        models += [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model")]
    return models


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


@cache
def has_bfloat16() -> bool:
    """Tell whether the CPU itself computes in bfloat16; others take many times as long."""
    try:
        words = set(Path("/proc/cpuinfo").read_text("utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


package_version = cache(version)  # of an installed package; reading it takes milliseconds


def platform_name() -> str:
    """Return operating system and machine."""
    return f"{platform.system()} {platform.release()} {platform.machine()}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = package_version(package)
        except PackageNotFoundError:
            continue
    return found
