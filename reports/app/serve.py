"""Serve: the process behind `harness app`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# The same stands in .streamlit/config.toml, for `streamlit run app.py`.
OPTIONS: Mapping[str, str] = {
    "browser.gatherUsageStats": "false",
    "server.showEmailPrompt": "false",
    "client.toolbarMode": "minimal",
    "theme.paddingTop": "3.5rem",
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#3A9BD9",
}
LOCAL = "localhost"


def command(results: Path, *, address: str, port: int, opens_browser: bool) -> list[str]:
    """Return the command that serves the app.

    Args:
        results: a results folder, or a folder of several.
        address: to listen on.
        port: of it.
        opens_browser: whether a browser is opened at the page.
    """
    script = Path(__file__).with_name("start.py")
    said = {
        **OPTIONS,
        "server.address": address,
        "server.port": str(port),
        "server.headless": "false" if opens_browser else "true",
        "server.fileWatcherType": "none",
    }
    flags = [f"--{key}={value}" for key, value in said.items()]
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(script),
        *flags,
        "--",
        str(results),
    ]


def serve(results: Path, *, address: str, port: int, opens_browser: bool) -> int:
    """Serve the app until it is stopped, and return the exit code of the server."""
    told = command(results, address=address, port=port, opens_browser=opens_browser)
    return subprocess.call(told)  # noqa: S603 - our own interpreter, arguments as a list
