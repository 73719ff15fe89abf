"""Standard streams: output that ends no run, whoever reads it and in whatever encoding."""

from __future__ import annotations

import io
import os
import re
import sys
from typing import Any

from harness.errors import ExitCode, UnwritableError

_NARROWEST, _WIDEST = 20, 10_000  # columns of a terminal


class _Descriptor(io.FileIO):
    """A descriptor whose reader may close it: the rest is dropped, and the work continues."""

    def __init__(self, descriptor: int, *, must_hold: bool) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._must_hold = must_hold
        self._is_gone = False

    def write(self, body: Any) -> int:
        """Write, or drop what can no longer be written."""
        if self._is_gone:
            return len(body)
        try:
            return super().write(body) or 0
        except BrokenPipeError:
            self._is_gone = True
            return len(body)
        except OSError as error:
            self._is_gone = True
            if not self._must_hold:
                return len(body)
            raise UnwritableError(
                f"standard output: cannot be written, got {error.strerror}. Free space or redirect "
                "it; finished stages are stored, and the same command resumes.",
                exit_code=ExitCode.STAGE,
            ) from error


def guard() -> None:
    """Let standard output and error survive a closed pipe and characters they cannot show.

    A width that nothing can be shown in is as none: rich prints nothing at all for COLUMNS=0.
    """
    for name, least in (("COLUMNS", _NARROWEST), ("LINES", 1)):
        said = os.environ.get(name, "")
        if not (re.fullmatch("[0-9]{1,6}", said) and least <= int(said) < _WIDEST):
            os.environ.pop(name, None)
    for name, must_hold in (("stdout", True), ("stderr", False)):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue  # closed, or another program's
        stream.flush()
        raw = _Descriptor(stream.fileno(), must_hold=must_hold)
        guarded = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors="replace",
            line_buffering=stream.line_buffering or not must_hold,
        )
        setattr(sys, name, guarded)
