"""Links: from anywhere to one query, or to another page, with an address that says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import streamlit as st


def open_query(query: str, *, within: str = "") -> NoReturn:
    """Go to a query.

    Args:
        query: its id.
        within: the scope that previous and next stay in, as the page of the query names it.
    """
    go("query", {"q": query, **({"within": within} if within else {})})


def go(page: str, parameters: Mapping[str, str]) -> NoReturn:
    """Go to a page."""
    st.switch_page(st.session_state["pages"][page], query_params=dict(parameters))
