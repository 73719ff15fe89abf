"""Read a folder of files: each file is a document, its path below the folder is the id.

Text (`.txt`, `.text`, `.rst`) and Markdown (`.md`, `.markdown`) are taken as they are; HTML
(`.html`, `.htm`) without markup, its headings as Markdown's; PDF (`.pdf`) by pypdf, the extra
`pdf`. UTF-8 is read, UTF-16 with a mark, and the encoding that an HTML file states. Hidden files
and folders are not looked at. What is left out is counted, and reported by the audit.
"""

from __future__ import annotations

import codecs
import io
import logging
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from harness.collection.passages import USUAL
from harness.collection.raw import RawCollection, RawTexts
from harness.collection.reading import folder_problem, listed
from harness.errors import ExitCode, HarnessError, counted

FOLDER = "folder"  # the kind of source that is read here
_CHARSET = re.compile(rb"<meta[^>]{1,200}charset=[\"' ]*([\w-]+)", re.IGNORECASE)
_HEAD = 2048  # bytes in which an HTML file says its encoding


class _NoReaderError(Exception):
    """The package that reads a kind of file is not installed."""


def read_folder(folder: Path) -> RawCollection:
    """Read the files of a folder and of those below it as a collection without splits.

    Raises:
        HarnessError: exit code 3, there is no such folder, or no file with text in it.
    """
    if problem := folder_problem(folder):
        raise HarnessError(f"{folder}: {problem}", exit_code=ExitCode.DATA)
    texts: dict[str, str] = {}
    left_out: dict[str, list[str]] = {}
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        text, why = _read(path)
        if why:
            left_out.setdefault(why, []).append(name)
        else:
            texts[name] = text
    notes = [
        f"{folder}: {counted(len(names), 'file')} {why} ({listed(names[:3])}"
        f"{', …' if len(names) > 3 else ''}). Left out."
        for why, names in left_out.items()
    ]
    if not texts:
        kinds = ", ".join(_READERS)
        problems = [*notes, f"{folder}: no file with text. Add files that end in {kinds}."]
        raise HarnessError(problems, exit_code=ExitCode.DATA)
    no_lines = np.empty(0, dtype=np.int32)
    documents = RawTexts(str(folder), tuple(texts), tuple(texts.values()), no_lines)
    return RawCollection(f"{FOLDER}:{folder}", documents, {}, notes=tuple(notes), cut=USUAL)


def files_below(folder: Path) -> list[Path]:
    """Return the files of a folder and of those below it, hidden ones apart, in a fixed order."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _read(path: Path) -> tuple[str, str]:
    """Return the text of a file, and why there is none: what completes "3 files …"."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        return "", f"of an unsupported type, {path.suffix or 'no extension'}"
    try:
        text = reader(path.read_bytes())
        text.encode()
    except _NoReaderError as error:
        why = f"not read: {error}"
    except UnicodeError:
        why = "not in UTF-8: save as UTF-8"
    except (OSError, ValueError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
    else:
        why = "" if text.strip() else "without text"
        why = "binary, with NUL bytes" if "\0" in text else why
    return ("", why) if why else (text, "")


def _plain(body: bytes) -> str:
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = body.decode("utf-16")
    else:
        text = body.decode("utf-8-sig")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _html(body: bytes) -> str:
    try:
        page = _plain(body)
    except UnicodeDecodeError:
        said = _CHARSET.search(body[:_HEAD])
        if said is None:
            raise
        try:
            page = body.decode(said[1].decode())
        except LookupError:
            raise UnicodeError(f"unknown encoding {said[1]!r}") from None
    parser = _Page()
    parser.feed(page)
    parser.close()
    return re.sub(r"\s*\n\s*\n\s*", "\n\n", "".join(parser.parts)).strip()


class _Page(HTMLParser):
    """Collects the text of a page: headings as Markdown writes them, blocks apart.

    Attributes:
        parts: of the text.
    """

    _UNSEEN = frozenset({"nav", "noscript", "script", "style", "svg", "template"})
    _BLOCKS = frozenset(
        {
            *("address", "article", "aside", "blockquote", "body", "dd", "details", "div", "dl"),
            *("dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "main"),
            *("ol", "p", "pre", "section", "summary", "table", "title", "tr", "ul"),
        }
    )

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._unseen: list[str] = []
        self._verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Begin an element."""
        if tag in self._UNSEEN:
            self._unseen.append(tag)
        elif re.fullmatch("h[1-6]", tag):
            self.parts.append(f"\n\n{'#' * int(tag[1])} ")
        elif tag == "br":
            self.parts.append("\n")
        elif tag in {"td", "th"}:
            self.parts.append(" ")
        elif tag == "li":
            self.parts.append("\n- ")
        elif tag in self._BLOCKS:
            self.parts.append("\n\n")
        self._verbatim += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        if self._unseen and tag == self._unseen[-1]:
            self._unseen.pop()
        elif tag in self._BLOCKS or re.fullmatch("h[1-6]", tag):
            self.parts.append("\n\n")
        self._verbatim = max(0, self._verbatim - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        """Take text."""
        if not self._unseen:
            self.parts.append(data if self._verbatim else re.sub(r"\s+", " ", data))


def _pdf(body: bytes) -> str:
    try:
        from pypdf import PdfReader
    except ImportError:
        raise _NoReaderError("pip install 'embedding-harness[pdf]' reads PDF") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it repairs concerns nobody
    try:
        pages = [page.extract_text() for page in PdfReader(io.BytesIO(body)).pages]
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
        raise ValueError(f"damaged, or locked ({type(error).__name__})") from None
    # A character that the file does not map to Unicode may come as half of a surrogate pair.
    return "\n\n".join(pages).encode("utf-8", "replace").decode()


# The one place that lists kinds of files.
_READERS: Mapping[str, Callable[[bytes], str]] = {
    ".md": _plain,
    ".markdown": _plain,
    ".txt": _plain,
    ".text": _plain,
    ".rst": _plain,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
}
