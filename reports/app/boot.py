"""Boot: the server's process; it loads what the pages need while the browser loads Streamlit."""

from __future__ import annotations

import sys
import threading


def main() -> None:
    """Run Streamlit with the arguments of this process."""
    from streamlit.web import cli

    threading.Thread(target=_load, daemon=True).start()
    sys.argv[0] = "streamlit"
    cli.main()


def _load() -> None:
    """Import the slow packages, and build a figure, which loads more of plotly."""
    import pandas as pd
    import pyarrow.dataset
    import pyarrow.parquet
    import scipy.special

    from reports import drawing
    from reports.app import main as pages

    drawing.frame(height=100)
    _ = pd, pyarrow, scipy, pages


if __name__ == "__main__":
    main()
