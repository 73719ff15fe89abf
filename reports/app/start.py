"""Start: the script that Streamlit runs again at every click."""

from __future__ import annotations

if __name__ == "__main__":
    from reports.app.main import main

    main()
