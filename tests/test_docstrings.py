"""Public docstrings name every argument.

Public is what has no leading underscore anywhere in its dotted name and lies outside the rooms
`cli`, whose arguments are the options of the commands. An argument counts as named where

- its name stands in the docstring of the function, of its class, or of its module, or
- it is of a class of these packages that has a docstring: what it holds stands there, or
- docs/glossary.csv has it among the arguments that mean the same everywhere, with that annotation.

The second and third keep docstrings short: `ops: Operations` is the same in all functions that
take it, and one place with shapes and units can be right where thirty cannot. An argument of the
glossary is used at least three times; one that has no other name is not public.
"""

from __future__ import annotations

import ast
import csv
import functools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sources import nodes_of, tree_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("elector", "transcode")
LEAST_SHARE = 0.95
OFTEN = 3
# What a function without a docstring may be: these are described by Python itself.
SPECIAL = ("__init__",)


@dataclass(frozen=True)
class Argument:
    """One argument of a public function; `function` says where, `named` whether it is named."""

    function: str
    name: str
    annotation: str
    named: bool


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """The modules whose public functions count."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            hidden = any(part.startswith("_") and part != "__init__" for part in parts)
            if "cli" not in parts and not hidden:
                yield path, tree_of(path)


@functools.cache
def classes() -> dict[str, bool]:
    """Name of each class of the packages -> whether it has a docstring."""
    documented: dict[str, bool] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in nodes_of(path):
                if isinstance(node, ast.ClassDef):
                    told = ast.get_docstring(node) is not None
                    documented[node.name] = told and documented.get(node.name, True)
    return documented


def ours(tree: ast.Module) -> set[str]:
    """Names by which a module knows classes of the packages."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.asname or a.name for a in node.names if a.name.startswith(PACKAGES)}
    return names


@functools.cache
def glossary() -> dict[tuple[str, str], str]:
    """(argument, annotation) -> what it means everywhere."""
    path = ROOT / "docs" / "glossary.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {
        (row["term"], annotation): row["meaning"]
        for row in rows
        if row["kind"] == "argument"
        for annotation in row["unit"].split(" or ")
    }


def told_by_class(annotation: str, known: set[str]) -> bool:
    """Whether an annotation is of a class of the packages with a docstring."""
    words = re.findall(r"[A-Za-z_][\w.]*", annotation)
    return any(
        word.split(".")[0] in known and classes().get(word.rpartition(".")[2], False)
        for word in words
    )


def public_functions(
    tree: ast.Module,
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, str, str]]:
    """(function, name, docstring of its class) of what a module offers."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        cls = node.name if isinstance(node, ast.ClassDef) else ""
        if cls.startswith("_"):
            continue
        for function in inside:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if function.name.startswith("_") and function.name not in SPECIAL:
                continue
            about = (ast.get_docstring(node) or "") if isinstance(node, ast.ClassDef) else ""
            yield function, f"{cls}.{function.name}" if cls else function.name, about


def arguments_of(path: Path, tree: ast.Module) -> Iterator[Argument]:
    """The arguments of the public functions of a module."""
    known, module = ours(tree), ast.get_docstring(tree) or ""
    for function, name, about in public_functions(tree):
        text = "\n".join((ast.get_docstring(function) or "", about, module))
        given = function.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        every += [extra for extra in (given.vararg, given.kwarg) if extra is not None]
        for argument in every:
            if argument.arg in ("self", "cls") or argument.arg.startswith("_"):
                continue
            annotation = ast.unparse(argument.annotation) if argument.annotation else ""
            named = (
                re.search(rf"(?<!\w){argument.arg}(?!\w)", text) is not None
                or told_by_class(annotation, known)
                or (argument.arg, annotation) in glossary()
            )
            where = f"{path.relative_to(ROOT)}:{function.lineno} {name}"
            yield Argument(where, argument.arg, annotation, named)


@functools.cache
def arguments() -> tuple[Argument, ...]:
    """The arguments of all public functions."""
    return tuple(a for path, tree in sources() for a in arguments_of(path, tree))


def test_public_functions_name_their_arguments() -> None:
    functions = {argument.function for argument in arguments()}
    silent = {argument.function for argument in arguments() if not argument.named}
    assert len(functions) > 1_000
    share = 1 - len(silent) / len(functions)
    unnamed = [f"{a.function}: {a.name}" for a in arguments() if not a.named]
    assert share >= LEAST_SHARE, f"{share:.1%} of {len(functions)}: {unnamed}"


def test_public_functions_have_docstrings() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{function.lineno} {name}"
        for path, tree in sources()
        for function, name, about in public_functions(tree)
        if not ast.get_docstring(function) and function.name not in SPECIAL
    ]
    total = sum(1 for _, tree in sources() for _ in public_functions(tree))
    assert len(silent) <= (1 - LEAST_SHARE) * total, silent


def test_arguments_of_the_glossary_are_used() -> None:
    used = Counter((a.name, a.annotation) for a in arguments())
    rare = [
        f"{name}: {annotation}" for name, annotation in glossary() if used[name, annotation] < 1
    ]
    assert not rare, "no public function has these arguments any more"
    often = Counter[str]()
    for name, annotation in glossary():
        often[name] += used[name, annotation]
    assert not [name for name in often if often[name] < OFTEN]


@pytest.mark.parametrize(
    "text, named",
    [
        ('def f(count: int) -> int:\n    """Half of `count`."""\n', True),
        ('def f(count: int) -> int:\n    """Half of it; the account of all."""\n', False),
        ('class A:\n    """A total."""\n\ndef f(a: A | None) -> int:\n    """Nothing."""\n', True),
        ('class A:\n    pass\n\ndef f(a: A) -> int:\n    """Nothing."""\n', False),
        ('from torch import Tensor\n\ndef f(x: Tensor) -> int:\n    """Nothing."""\n', False),
    ],
)
def test_what_counts_as_named(text: str, named: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse(text)
    own = {n.name: bool(ast.get_docstring(n)) for n in tree.body if isinstance(n, ast.ClassDef)}
    monkeypatch.setitem(globals(), "classes", lambda: {"Tensor": True} | own)
    assert [a.named for a in arguments_of(ROOT / "f.py", tree)] == [named]


def array_fields() -> Iterator[tuple[str, bool]]:
    """Array fields of public records, and whether their docstring or a remark names them."""
    for path, tree in sources():
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in tree.body:
            if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
                continue
            about = ast.get_docstring(node) or ""
            for field in node.body:
                if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                    continue
                if field.target.id.startswith("_"):
                    continue
                if re.search(r"\b(Array|np\.ndarray)\b", ast.unparse(field.annotation)):
                    name = field.target.id
                    remark = lines[field.lineno - 1].partition("#")[2]
                    told = re.search(rf"(?<!\w){name}(?!\w)", about) or re.search(
                        r"\([A-Z]", remark
                    )
                    where = f"{path.relative_to(ROOT)}:{field.lineno} {node.name}.{name}"
                    yield where, told is not None


def test_records_name_their_arrays() -> None:
    fields = list(array_fields())
    silent = [where for where, told in fields if not told]
    assert len(fields) > 300
    assert len(silent) <= (1 - LEAST_SHARE) * len(fields), silent


# (R, D), (D,), (at most count, S), (..., width), 0-d, or words that say it.
A_SHAPE = re.compile(
    r"\((?:\d+|[A-Za-z.]+|at most)(?:[, ][^()]*)?\)|\b0-d\b|\bshape\b|one number for each"
)


def arrays() -> Iterator[tuple[str, bool]]:
    """Array arguments of public functions, and whether a shape stands where they are named."""
    for path, tree in sources():
        for function, name, about in public_functions(tree):
            given = function.args
            for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs):
                annotation = ast.unparse(argument.annotation) if argument.annotation else ""
                if "Callable" in annotation or not re.search(r"\b(Array|ndarray)\b", annotation):
                    continue
                texts = [ast.get_docstring(function) or ""]
                texts.append(glossary().get((argument.arg, annotation), ""))
                if re.search(rf"(?<!\w){argument.arg}(?!\w)", about):
                    texts.append(about)
                shaped = any(A_SHAPE.search(text) for text in texts)
                yield f"{path.relative_to(ROOT)}:{function.lineno} {name}: {argument.arg}", shaped


def test_arrays_have_a_shape_where_they_are_named() -> None:
    named = list(arrays())
    silent = [where for where, shaped in named if not shaped]
    assert len(named) > 300
    assert len(silent) <= (1 - LEAST_SHARE) * len(named), silent
