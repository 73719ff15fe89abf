"""Given: vectors and runs that Python holds, kept in the store as files, which candidates read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from harness.errors import ExitCode, HarnessError
from harness.hashing import digest
from harness.store import Store

Tables = Mapping[str, Mapping[str, Any]]


def keep_given(candidates: Tables, store: Store) -> Tables:
    """Return the tables of candidates with the path of a file in place of every DataFrame.

    Args:
        candidates: a `run` has the columns of a run file, such as query_id, document_id and score;
            `documents` and `queries` of `vectors` have the ids as index and a column a dimension.
            Each may be a mapping from the name of a collection to such a DataFrame.
        store: where the files lie, under a key of their content.

    Raises:
        HarnessError: exit code 2, all that no file can hold; 4, the store cannot be written.
    """
    problems: list[str] = []
    tables = dict(candidates) if isinstance(candidates, Mapping) else {}
    for name, table in tables.items():
        for key in ("run", "vectors"):
            given = table.get(key) if isinstance(table, Mapping) else None
            sides = given if key == "vectors" and isinstance(given, Mapping) else {"": given}
            try:
                kept = {
                    side: _kept(each, f"{side}.npy" if side else "run.parquet", store)
                    for side, each in sides.items()
                    if each is not None
                }
            except (TypeError, ValueError) as error:
                said = next(iter(str(error).splitlines()), "")
                where = f"candidates[{name!r}][{key!r}]"
                problems.append(f"{where}: no file can hold it ({said}). Use text and numbers.")
                continue
            if kept:
                tables[name] = {**tables[name], key: kept.get("", kept)}
    if problems:
        raise HarnessError(problems, exit_code=ExitCode.USAGE)
    return tables or candidates


def _kept(given: Any, file: str, store: Store) -> Any:
    """Return the path that stands for what is given, ``{collection}`` in it where it has several.

    Raises:
        TypeError, ValueError: no file can hold it.
    """
    frames = given if isinstance(given, Mapping) else {"": given}
    if not frames or not all(hasattr(each, "to_parquet") for each in frames.values()):
        return given  # a path, or refused with the shapes
    contents: dict[str, bytes] = {}
    for name, frame in frames.items():
        contents.update(_files(frame, f"{name}.{file}" if name else file))
    key = digest("given", contents)
    found = store.get("given", key)
    if found is None:
        with store.writing("given", key, meta={"label": f"keep {file}"}) as folder:
            for name, content in contents.items():
                (folder / name).write_bytes(content)
        found = store.get("given", key)
    folder = store.root if found is None else found.path
    return str(folder / (f"{{collection}}.{file}" if isinstance(given, Mapping) else file))


def _files(frame: Any, name: str) -> dict[str, bytes]:
    """Return the content of the files that hold a DataFrame: a table, or vectors and their ids."""
    body = io.BytesIO()
    if name.endswith(".parquet"):
        frame.to_parquet(body, index=False)
        return {name: body.getvalue()}
    import numpy as np

    np.save(body, frame.to_numpy())
    ids = "".join(f"{key}\n" for key in frame.index)
    return {name: body.getvalue(), f"{name.removesuffix('.npy')}.ids.txt": ids.encode()}
