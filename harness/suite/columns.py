"""Columns: which column of a user's file holds what, where the suite says so."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from harness.suite.table import Spec


class Columns(Spec):
    """``columns = {…}``: which column of a file of pairs holds what; None takes its usual names.

    Attributes:
        query, document: the texts.
        document_id, query_id: ids; without them equal texts are one query or document.
        grade: how relevant the document is, from 1 on; clicks are summed.
        split: of the row.
    """

    query: str | None = None
    document: str | None = None
    document_id: str | None = None
    query_id: str | None = None
    grade: str | None = None
    split: str | None = None

    @property
    def said(self) -> dict[str, str]:
        """The columns that are named, by our name."""
        return {name: column for name, column in self if column is not None}


# Of training data: the header of a file without one, or a table as above with our names of other
# layouts too. The tags are in brackets, as no key of a suite is: `shape_problems` drops them.
TableColumns = Annotated[
    Annotated[list[str], Tag("[array]")] | Annotated[dict[str, str], Tag("[table]")],
    Discriminator(lambda said: "[table]" if isinstance(said, dict) else "[array]"),
]
