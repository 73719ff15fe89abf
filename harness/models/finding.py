"""Finding: where a model's files lie, in an installed package or the hub's local cache."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from harness.errors import ExitCode, HarnessError, usage_error

# Files that decide what a model computes; a README or an ONNX export leaves its key alone.
_DECISIVE = {".json", ".txt", ".model", ".safetensors", ".bin", ".py", ".jinja", ".metadata"}
_EXPORTS = {"onnx", "openvino", ".cache", ".git"}
_TENSORS = {".safetensors", ".bin"}


class NotDownloadedError(HarnessError):
    """A hub model that is not in the local cache yet."""


def in_package(name: str) -> tuple[Path, list[str]]:
    """Return the folder and the decisive files of the model that ``<name>[/<folder>]`` ships.

    Raises:
        HarnessError: exit code 2, it is not installed, or ships none or several.
    """
    package, _, below = name.partition("/")
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise usage_error(
            f"package '{package}' is not installed. Install it: pip install {package}"
        ) from None
    files = [Path(str(file)) for file in distribution.files or []]
    if below:
        files = [file for file in files if f"/{below}/" in f"/{file.as_posix()}"]
    roots = {file.parent for file in files if file.name == "modules.json"}
    if not roots:
        roots = {Path(file.parts[0]) for file in files if file.suffix in _TENSORS}
    if not roots:
        raise usage_error(
            f"package '{name}' ships no weights, got no *.safetensors or *.bin. Check the name."
        )
    if len(roots) > 1:
        found = ", ".join(sorted(root.as_posix() for root in roots))
        raise usage_error(
            f"package '{package}' should ship one model, got {found}. "
            f"Name the folder: package:{package}/<folder>"
        )
    root = Path(str(distribution.locate_file(roots.pop())))
    return root, decisive(root)


def in_hub(reference: str, *, revision: str | None, download: bool) -> Path:
    """Return the folder of a hub's model in the local cache.

    Raises:
        NotDownloadedError: it is not there, and not `download`.
        HarnessError: exit code 2, the hub does not know it.
    """
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
            f"model '{reference}' is neither a local folder nor in the hub's local cache. "
            "Check the name, give a folder or package:<name>, or run with network access.",
            exit_code=ExitCode.USAGE,
        ) from None
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        raise usage_error(
            f"model '{reference}' is not a local folder, and the hub says: "
            f"{str(error).splitlines()[0].rstrip('.')}. Check the name and the revision."
        ) from None


def decisive(folder: Path) -> list[str]:
    """Return the files that decide what a model computes, relative to its folder, in order."""
    return [
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if path.suffix in _DECISIVE
        and path.is_file()
        and not _EXPORTS & set(path.relative_to(folder).parts)
    ]
