"""Boot: the server's process; it loads what the pages need while the browser loads Streamlit."""

from __future__ import annotations

import importlib
import sys
import threading

_SLOW = ("pandas", "pyarrow.dataset", "pyarrow.parquet", "scipy.special", "reports.app.main")


def main() -> None:
    """Run Streamlit with the arguments of this process."""
    from streamlit.web import cli

    threading.Thread(target=_load, daemon=True).start()
    sys.argv[0] = "streamlit"
    cli.main()


def _load() -> None:
    """Import the slow packages, and build a figure, which loads more of plotly."""
    from reports import drawing

    for name in _SLOW:
        importlib.import_module(name)
    drawing.frame(height=100)


if __name__ == "__main__":
    main()
