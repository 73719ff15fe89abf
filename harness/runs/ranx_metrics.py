"""ranx's metrics without the rest of ranx, which imports pandas, matplotlib and scipy's statistics.

Those take a third of the time of a command on a small suite.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """A package whose own code runs when something of it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        found = self.__spec__
        if name.startswith("__") or found is None or found.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        found.loader.exec_module(self)
        return getattr(self, name)


@cache
def ranx_metrics() -> ModuleType:
    """Return `ranx.metrics`; who imports ranx itself gets all of it, before and after."""
    found = find_spec("ranx") if "ranx" not in sys.modules else None
    if found is not None:
        from numba import config

        config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined] # as ranx sets it: the others do not survive a fork
        package = _Package("ranx")
        package.__spec__, package.__loader__, package.__file__ = found, found.loader, found.origin
        package.__path__ = found.submodule_search_locations or []
        sys.modules["ranx"] = package
    return import_module("ranx.metrics")
