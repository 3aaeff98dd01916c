"""How large and how entangled code may become: what is above a bar is taken apart by what its parts
are, or named here with a reason."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from sources import ROOT, SOURCES, name_of, nodes_of, text_of

AROUND = sorted(
    path for folder in ("tests", "benchmarks", "docs") for path in (ROOT / folder).rglob("*.py")
)
MAX_LINES = 400  # of a module's code: docstrings, comments and blank lines not counted
MAX_TEST_LINES = 450
MAX_BODY = 40  # of a function, counted alike
MAX_PARAMETERS = 6
#: What users call with names, so that every setting is an argument: the API and its commands.
ENTRIES = {
    "elector/cli/commands.py: simulate",
    "elector/cli/compare.py: compare",
    "elector/cli/pages.py: report",
    "elector/studies/pair_page.py: report",
    "elector/studies/simulation.py: simulate",
    "transcode/cli/train.py: train",
    "transcode/dynaprop/pruner.py: __init__",
    "transcode/search/__init__.py: search",
}
#: McCabe's number (ruff C901) that nine of ten functions stay within, and all of them.
COMPLEXITY_OF_MOST, COMPLEXITY = 7, 11
#: Names that say nothing of what they name, whatever case they are written in.
EMPTY_NAMES = {"found", "foo", "got", "obj", "res", "ret", "stuff", "thing", "things", "tmp"}
#: Tables of tests that are read as a whole, and would be a page long with an entry a line.
MAX_UNFORMATTED = 9

Function = ast.FunctionDef | ast.AsyncFunctionDef
#: What may have a docstring.
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@cache
def lines_of_code(path: Path) -> frozenset[int]:
    """Numbers of the lines that hold code: no docstrings, comments or blanks."""
    docstrings, texts = set[int](), set[int]()
    for node in nodes_of(path):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
        elif isinstance(node, ast.Constant | ast.JoinedStr):  # of many lines, blank ones too
            texts.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = ((i, line.strip()) for i, line in enumerate(text_of(path).splitlines(), 1))
    code = {i for i, line in lines if line and not line.startswith("#")}
    return frozenset((code | texts) - docstrings)


def functions(path: Path) -> Iterator[Function]:
    """Every function of a module, inner ones and methods included."""
    for node in nodes_of(path):
        if isinstance(node, Function):
            yield node


def parameters(function: Function) -> list[str]:
    """Names of what a function asks for; what a method belongs to is none."""
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


@pytest.mark.parametrize(("paths", "limit"), [(SOURCES, MAX_LINES), (AROUND, MAX_TEST_LINES)])
def test_files_stay_short(paths: list[Path], limit: int) -> None:
    sizes = {name_of(path): len(lines_of_code(path)) for path in paths}
    assert not {name: size for name, size in sizes.items() if size > limit}


def test_functions_stay_short() -> None:
    long = []
    for path in SOURCES:
        for function in functions(path):
            own = range(function.lineno, (function.end_lineno or 0) + 1)
            size = len(lines_of_code(path).intersection(own))
            if size > MAX_BODY:
                long.append(f"{name_of(path)}:{function.lineno}: {function.name}: {size} lines")
    assert not long


def test_functions_ask_for_little() -> None:
    """What more a function needs is a record. An entry that asks for less leaves the list."""
    many = {
        f"{name_of(path)}: {function.name}"
        for path in SOURCES
        for function in functions(path)
        if len(parameters(function)) > MAX_PARAMETERS
    }
    assert many == ENTRIES


def test_a_name_is_that_of_one_class() -> None:
    """Also of private ones: who searches for a class finds it, and only it."""
    places = defaultdict(list)
    for path in SOURCES:
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_of(path))
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def names_given(node: ast.AST) -> list[str]:
    """Names that a node gives: to variables, arguments, attributes, functions, classes, imports."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            return [name]
        case ast.arg(arg=name) | ast.ClassDef(name=name):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.ExceptHandler(name=str(name)) | ast.alias(asname=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
    return []


def empty_names(nodes: Iterable[ast.AST]) -> list[str]:
    """What is given a name that says nothing, as it is written."""
    return [n for node in nodes for n in names_given(node) if n.strip("_").lower() in EMPTY_NAMES]


def test_names_say_what_they_name() -> None:
    """What a variable holds is a cost, rows, a message: `found` is true of everything."""
    empty = {name_of(path): empty_names(nodes_of(path)) for path in (*SOURCES, *AROUND)}
    assert not {name: names for name, names in empty.items() if names}


@pytest.mark.parametrize(
    "code",
    [
        "found = 1",
        "for i, found in pairs: pass",
        "if (found := f()): pass",
        "[found for found in rows]",
        "lambda found: 1",
        "def f(*, found=1): pass",
        "def f(*found): pass",
        "def found(): pass",
        "async def found(): pass",
        "class Found: pass",
        "class Row:\n    found: int",
        "self._found = 1",
        "with f() as found: pass",
        "try: pass\nexcept ValueError as found: pass",
        "import json as found",
        "match row:\n    case {**found}: pass",
        "match row:\n    case [*found]: pass",
        "match row:\n    case int() as found: pass",
    ],
)
def test_every_way_to_give_a_name_is_seen(code: str) -> None:
    assert len(empty_names(ast.walk(ast.parse(code)))) == 1
    assert not empty_names(ast.walk(ast.parse(code.replace("ound", "oundry"))))


def test_most_functions_take_few_ways() -> None:
    pytest.importorskip("ruff")
    command = "check elector transcode --isolated --select C901 --output-format json --exit-zero"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            *command.split(),
            "--config",
            "lint.mccabe.max-complexity=0",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # "`name` is too complex (5 > 0)"
    numbers = sorted(
        int(entry["message"].rpartition("(")[2].partition(" ")[0])
        for entry in json.loads(done.stdout)
    )
    assert len(numbers) > 3000
    assert numbers[int(0.9 * len(numbers))] <= COMPLEXITY_OF_MOST
    assert numbers[-1] <= COMPLEXITY


def test_the_formatter_lays_out_nearly_everything() -> None:
    marks = ("fmt: " + "skip", "fmt: " + "off")  # in pieces, so that this file has none
    unformatted = [
        f"{name_of(path)}:{number}"
        for path in (*SOURCES, *AROUND)
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if any(mark in line for mark in marks)
    ]
    assert len(unformatted) <= MAX_UNFORMATTED, unformatted
