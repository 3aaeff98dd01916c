"""One HTML file that needs nothing else: a library, data as compressed columns, a script.

The library is BokehJS, of the installed package: it draws on a canvas, without a network and
without a graphics card. Library and columns are gzip in base64, which every browser since 2023
unpacks by itself (DecompressionStream).
"""

from __future__ import annotations

import base64
import gzip
import html
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import paths, spelling
from elector.base.errors import ElectorError
from elector.base.output import whole

DATA = Path(__file__).resolve().parent.parent / "data" / "page"
#: What is drawn with, in the order in which a browser has to read it.
LIBRARY = ("bokeh.min.js", "bokeh-api.min.js")
#: Largest file of the library that is read [byte].
LARGEST = 20_000_000
#: Kinds of numbers that a column may hold, as JavaScript calls their arrays.
_ARRAYS = {
    "f8": "Float64Array",
    "f4": "Float32Array",
    "i4": "Int32Array",
    "u2": "Uint16Array",
    "u1": "Uint8Array",
}


class Columns:
    """Arrays and texts of a page, each under a name, packed one behind the other."""

    def __init__(self) -> None:
        self.index: dict[str, dict[str, Any]] = {}
        self._pieces: list[bytes] = []
        self._size = 0

    def numbers(self, name: str, values: np.ndarray) -> None:
        """A column of numbers; the kind of its array is kept (f8, f4, i4, u2 or u1).

        values : (N,) numbers, one a row.
        """
        array = np.ascontiguousarray(values)
        kind = f"{array.dtype.kind}{array.dtype.itemsize}"
        self._add(name, {"array": _ARRAYS[kind], "length": array.size}, array.tobytes())

    def coded(self, name: str, texts: Sequence[str]) -> None:
        """A column of few distinct texts: the texts once, and a number for each row."""
        distinct = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(distinct)}
        kind = (
            np.uint8 if len(distinct) <= 256 else np.uint16 if len(distinct) < 65536 else np.int32
        )
        codes = np.array([place[text] for text in texts], dtype=kind)
        array = _ARRAYS[f"{codes.dtype.kind}{codes.dtype.itemsize}"]
        entry = {"array": array, "length": codes.size, "texts": distinct}
        self._add(name, entry, codes.tobytes())

    def texts(self, name: str, texts: Sequence[str]) -> None:
        """A column of texts that differ from row to row."""
        data = "\n".join(text.replace("\n", " ") for text in texts).encode()
        self._add(name, {"array": "texts", "length": len(texts)}, data)

    def _add(self, name: str, entry: dict[str, Any], data: bytes) -> None:
        padding = -self._size % 8  # arrays of JavaScript begin where their numbers may stand
        self._pieces += [b"\0" * padding, data]
        self._size += padding
        self.index[name] = {**entry, "start": self._size, "bytes": len(data)}
        self._size += len(data)

    def packed(self) -> str:
        """All of it, gzip in base64."""
        return _packed(b"".join(self._pieces))


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")


def document(title: str, body: str, data: Mapping[str, Any], columns: Columns, script: str) -> str:
    """The text of the page.

    Parameters
    ----------
    title : of the window. body : HTML that stands without the script, too.
    data : what the script is told, in JSON types (NaN becomes null). columns : its arrays.
    script : name of a file in data/page, run behind common.js.
    """
    told = spelling.dumps(_finite({**data, "columns": columns.index}), separators=(",", ":"))
    pieces = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{_asset('page.css')}</style></head><body>",
        body,
        f'<script id="told" type="application/json">{_in_script(told)}</script>',
        f'<script id="packed" type="text/plain">{columns.packed()}</script>',
        *(
            f'<script class="library" type="text/plain">{_packed(source)}</script>'
            for source in _library()
        ),
        f"<script>{_asset('common.js')}\n{_asset(script)}</script>",
        "</body></html>\n",
    ]
    return "\n".join(pieces)


def write(text: str, path: Path) -> None:
    """Write a page, whole or not at all.

    text : the HTML.
    """
    with whole(path) as target:
        target.write_text(text, encoding="utf-8", errors="backslashreplace")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column holds names, the others figures.

    header : names of the columns. rows : cells as people read them, as many in each as in the
        header.
    """
    head = "".join(
        f'<th scope="col"{"" if place else " class=text"}>{html.escape(cell)}</th>'
        for place, cell in enumerate(header)
    )
    lines = [
        f'<tr><th scope="row">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    ]
    inner = f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return f'<div class="wide"><table>{inner}</table></div>'


def _library() -> list[bytes]:
    try:
        import bokeh
    except ImportError:
        raise ElectorError("a page needs Bokeh, which this program is installed with") from None
    folder = Path(bokeh.__file__).parent / "server" / "static" / "js"
    return [paths.read_bytes(folder / name, LARGEST) for name in LIBRARY]


def _asset(name: str) -> str:
    return paths.read_text(DATA / name)


def _in_script(text: str) -> str:
    """JSON that no browser takes for the end of its script."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
