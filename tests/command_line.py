"""Processes of their own, forked where the heavy packages are imported already.

Exit codes, signals, standard streams, folder and environment are those of `harness` started by a
person; only the seconds that each start would spend importing torch are spent once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

HARNESS = Path(sys.executable).parent / "harness"  # for what only a fresh interpreter can show
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["preloaded"])


def harness(
    *arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        arguments: as a shell passes them.
        cwd: the folder to run in; that of the tests by default.
        env: the whole environment; by default ours, 120 columns wide. What a package reads when
            it is imported, such as ``HF_HOME``, has no effect here: start `HARNESS`.
    """
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start(*arguments, out=out, err=err, cwd=cwd, env=env)
        process.join()
        code = process.exitcode
        process.close()
        command = ("harness", *map(str, arguments))
        return subprocess.CompletedProcess(command, code, out.read_text(), err.read_text())


def start(
    *arguments: object,
    out: Path = Path(os.devnull),
    err: Path = Path(os.devnull),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start a command, and write what it prints into two files."""
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with patch.dict(os.environ, PYTHONPATH=here):
        ensure_running()
    command = ("harness", *map(str, arguments))
    environment = dict(os.environ, COLUMNS="120") if env is None else dict(env)
    process = PROCESSES.Process(
        target=_run, args=(command, cwd or Path.cwd(), environment, out, err)
    )
    process.start()
    return process


def _run(
    command: tuple[str, ...], cwd: Path, environment: Mapping[str, str], out: Path, err: Path
) -> None:
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), stream.fileno())
    # A shell lets what it starts in the background, such as these tests, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = command
    from harness.cli import main

    main()
