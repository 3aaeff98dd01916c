"""What reading a file may cost at most, however it was contrived: 2 GiB and 10 s of a processor."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from elector.base.errors import InputError
from elector.base.paths import LIMIT
from elector.base.table import first_repeated, load_json, load_yaml, read_csv
from elector.describe.formats.gemm import load_gemms
from elector.operations.sparsity import load_sparsity
from elector.studies.sweep_table import LIMIT as TABLE
from elector.studies.validation_cases import load_cases
from elector.technology.rows import read_rows

SECONDS, BYTES = 10.0, 2 << 30
HEADER = "model,accelerator,workload.batch,accelerator.rows\n"


def filled(piece: str, size: int, start: str = "", end: str = "") -> str:
    """`start`, as many whole pieces as fit, and `end`: just within the limit."""
    return start + piece * ((size - len(start) - len(end)) // len(piece)) + end


YAML = {
    "values": filled("1,", LIMIT, "[", "]"),
    "keys": "{" + ", ".join(f"a{i}: 1" for i in range(LIMIT // 13)) + "}",
    "pairs": filled("a: b, ", LIMIT, "[", "]"),
    "lines": filled("- 1\n", LIMIT),
    "nothing": filled("\n", LIMIT),
    "comments": filled("# a\n", LIMIT),
    "depth": filled("[", LIMIT),
    "dashes": filled("- ", LIMIT),
    "questions": filled("? ", LIMIT),
    "indents": "\n".join(" " * i + "a:" for i in range(1400)),
    "sixties": filled(":1", LIMIT, "a: 1"),
    "digits": filled("1", LIMIT, "a: "),
    "quote": filled("a", LIMIT, "a: '"),
    "escapes": filled("\\x41", LIMIT, 'a: "', '"'),
    "words": filled("a ", LIMIT),
    "spaces": filled(" ", LIMIT, "a: 1 ", "x"),
    "anchors": filled("&a ", LIMIT, "a: "),
    "tags": filled("!a ", LIMIT, "a: "),
    "documents": filled("---\n", LIMIT),
}
JSON = {
    "depth": filled("[", LIMIT),
    "objects": filled('{"a":', LIMIT),
    "digits": filled("1", LIMIT),
    "values": filled("1,", LIMIT, "[", "1]"),
    "keys": "{" + ",".join(f'"{i}":1' for i in range(LIMIT // 12)) + "}",
    "same": filled('"a":1,', LIMIT, "{", '"b":1}'),
    "quote": filled("\\", LIMIT, '"'),
}
CSV = {
    "commas": filled(",", LIMIT),
    "lines": filled("a\n", LIMIT),
    "quotes": filled('"', LIMIT),
    "breaks": filled('"\n",', LIMIT),
    "blanks": filled("\n", LIMIT),
}
READERS: list[tuple[str, Callable[[Path], object], dict[str, str]]] = [
    (".yaml", load_yaml, YAML),
    (".json", load_json, JSON),
    (".csv", read_csv, CSV),
]


@pytest.mark.parametrize(
    ("suffix", "name"), [(suffix, name) for suffix, _, texts in READERS for name in texts]
)
def test_a_contrived_description(tmp_path: Path, suffix: str, name: str) -> None:
    _, read, texts = next(entry for entry in READERS if entry[0] == suffix)
    path = tmp_path / f"a{suffix}"
    path.write_text(texts[name])
    assert path.stat().st_size <= LIMIT
    begin = time.process_time()
    try:
        read(path)
    except InputError as error:
        assert str(path) in str(error) and len(str(error)) < 2000
    assert time.process_time() - begin < SECONDS
    path.write_text(texts[name] + " " * LIMIT)
    with pytest.raises(InputError, match="is larger than"):
        read(path)


@pytest.mark.parametrize(
    "read", [load_cases, lambda path: load_sparsity(str(path)), load_gemms, read_rows]
)
@pytest.mark.parametrize("again", ["", ",90000"])
def test_a_header_of_many_names(tmp_path: Path, read: Callable[[Path], object], again: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(map(str, range(1, 150_000))) + again + "\n1,2,3\n")
    begin = time.process_time()
    with pytest.raises(InputError, match=r"a\.csv"):
        read(path)
    assert time.process_time() - begin < SECONDS


def test_the_first_name_that_stands_twice() -> None:
    assert first_repeated(["a", "b", "c", "b", "a"]) == "b"
    assert first_repeated(["a", "b"]) is None


#: What a process held at most is that of its own memory: of a program that another has started the
#: system's account (getrusage) begins with what that one held.
MEASURE = """
import re, resource, sys, time
from pathlib import Path
from elector.base.errors import InputError
from elector.studies.sweep_table import read_table
begin = time.process_time()
try:
    print(len(read_table(sys.argv[1])), "rows")
except InputError as error:
    print(error)
took, status = time.process_time() - begin, Path("/proc/self/status")
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if status.exists():
    held = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
print(took, held * 1024)
"""
TABLES: dict[str, Callable[[], str]] = {
    "alike": lambda: filled("bert-tiny,systolic,12,64\n", TABLE, HEADER),
    "distinct": lambda: HEADER + "".join(f"b{i},s,{i},{i}\n" for i in range(2_000_000)),
    "blank": lambda: filled("\n", TABLE, HEADER),
    "short": lambda: filled(",\n", TABLE, HEADER),
    "commas": lambda: filled(",", TABLE, HEADER),
    "breaks": lambda: filled('"a\n",', TABLE, HEADER),
    "wide": lambda: filled(
        "b," * 90_000 + "b\n",
        TABLE,
        "model,accelerator," + ",".join(f"note.{i}" for i in range(89_999)) + "\n",
    ),
    "empty names": lambda: filled(",", TABLE, "model,accelerator"),
    "columns": lambda: "model,accelerator," + ",".join(f"note.{i}" for i in range(4_000_000)),
    "ragged": lambda: filled("b,\n", TABLE, HEADER),
    "text": lambda: filled("ä", TABLE // 2, HEADER),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_contrived_table(tmp_path: Path, name: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(TABLES[name]().encode()[:TABLE])
    assert path.stat().st_size <= TABLE
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    seconds, held = map(float, done.stdout.splitlines()[-1].split())
    # Machines differ by two in speed, and so does one from minute to minute.
    assert seconds < 2 * SECONDS and held < BYTES, done.stdout
