"""Serve: the process behind `harness app`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from harness.errors import ExitCode, HarnessError

# The same stands in .streamlit/config.toml, for `streamlit run app.py`.
OPTIONS: Mapping[str, str] = {
    "browser.gatherUsageStats": "false",
    "server.showEmailPrompt": "false",
    "client.toolbarMode": "minimal",
    "theme.paddingTop": "0.5rem",
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#3A9BD9",
}
LOCAL = "localhost"
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - what a reader may have asked for
_PATIENCE_S = 60


def command(results: Path, *, address: str, port: int) -> list[str]:
    """Return the command that serves the app.

    Streamlit itself opens no browser and greets nobody: to a browser that it opens it advertises
    its own tools, and listening everywhere it asks a server elsewhere for its address.

    Args:
        results: a results folder, or a folder of several.
        address: to listen on.
        port: of it.
    """
    script = Path(__file__).with_name("start.py")
    said = {
        **OPTIONS,
        "server.address": address,
        "server.port": str(port),
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "logger.hideWelcomeMessage": "true",
        "logger.level": "warning",
    }
    flags = [f"--{key}={value}" for key, value in said.items()]
    return [
        sys.executable,
        "-P",  # no package of the folder it starts in hides ours
        "-m",
        "reports.app.boot",
        "run",
        str(script),
        *flags,
        "--",
        str(results),
    ]


def url(address: str, port: int) -> str:
    """Return where a browser on this machine finds the app.

    >>> url("localhost", 8501), url("0.0.0.0", 80), url("::1", 80)
    ('http://localhost:8501', 'http://localhost:80', 'http://[::1]:80')
    """
    host = LOCAL if address in _EVERYWHERE else address
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(results: Path, *, address: str, port: int, opens_browser: bool) -> int:
    """Serve the app until it is stopped, and return the exit code of the server.

    Args:
        results: a results folder, or a folder of several.
        address: to listen on.
        port: of it.
        opens_browser: whether a browser is opened as soon as the server answers.
    """
    if opens_browser:
        threading.Thread(target=_open_when_served, args=(address, port), daemon=True).start()
    told = command(results, address=address, port=port)
    with subprocess.Popen(told) as server:  # noqa: S603 - our own interpreter, arguments as a list
        # Whatever ends this process ends the server too, in its own time.
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
            server.wait()
            return 0


def require_free(address: str, port: int) -> None:
    """Raise HarnessError where the port is taken, or the address is none of this machine's."""
    try:
        [family, *_] = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        socket.create_server((address, port), family=family).close()
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        raise HarnessError(
            f"{address}:{port}: cannot listen ({why}). Choose another --port, or an --address of "
            "this machine.",
            exit_code=ExitCode.USAGE,
        ) from error


def _open_when_served(address: str, port: int) -> None:
    host = LOCAL if address in _EVERYWHERE else address
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            webbrowser.open(url(address, port))
            return
