"""The layout is a decision; these tests keep it."""

from __future__ import annotations

import ast
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from sources import PACKAGES, ROOT, SOURCES, nodes_of, tree_of

# Rooms, lowest first: a folder or a file directly under its package. A module imports from its
# own room and from those before it; inside a room there are no circles either, lazy imports
# included. New modules need no entry, a new room one in docs/rooms.csv.
ROOMS: dict[str, list[str]] = {}
for _row in csv.DictReader((ROOT / "docs" / "rooms.csv").read_text(encoding="utf-8").splitlines()):
    ROOMS.setdefault(_row["package"], []).append(_row["room"])
# Machines count and a technology prices: neither may know the other, nor another machine.
# Members of a registry do not know one another, only what their package shares.
ISOLATED = {
    "elector.machines": (
        "elector.machines.contract",
        "elector.machines.activity",
        "elector.machines.counts",
        "elector.machines.records",
        "elector.machines.pieces",
        "elector.machines.units",
        "elector.machines.tiling",
        "elector.machines.buffering",
        "elector.machines.memories",
    ),
    "transcode.engines": (
        "transcode.engines.base",
        "transcode.engines.streams",
    ),
}
FORBIDDEN = (("elector.machines", "elector.technology"),)

HEAVY = {"pandas", "optuna", "matplotlib", "torch", "rich", "pyarrow", "scipy", "sklearn"}
# Modules of PyTorch are classes, so these need it when they are imported; commands that
# train import them, and nothing else may at its start.
TRAINS = ("transcode.dynaprop", "transcode.training", "transcode.engines.boshcode")
MAY_PRINT = tuple(ROOT / package / "cli" for package in PACKAGES)

# What starting `elector` may load beside the standard library. Longer start, shorter list.
IMPORTED_BY_ELECTOR = {"elector", "numpy"}
IMPORTED_BY_SIMULATE = {"elector", "numpy", "click", "yaml", "cython_runtime"}


def module_name(path: Path) -> str:
    """Dotted name of the module in `path`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def room(module: str) -> str:
    """The room of a module, "" for a package itself: what stands above all its rooms but cli."""
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> tuple[int, float]:
    """Where a module stands: (package, room); what a package offers is above all but its cli."""
    package = module.partition(".")[0]
    rooms = ROOMS[package]
    own = room(module)
    if own == "__main__":
        return PACKAGES.index(package), len(rooms)
    place = rooms.index("cli") - 0.5 if own == "" else rooms.index(own)
    return PACKAGES.index(package), place


def is_type_checking(node: ast.AST) -> bool:
    """Whether `node` is `if TYPE_CHECKING:`."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


@cache
def imports(path: Path, *, at_start_only: bool = False) -> tuple[tuple[str, int], ...]:
    """Every (imported module, line); with `at_start_only` those that run on import."""
    return tuple(_imports(path, at_start_only))


def _imports(path: Path, at_start_only: bool) -> Iterator[tuple[str, int]]:
    pending: list[ast.AST] = [tree_of(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write absolute imports"
            base = node.module or ""
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield (whole if whole in MODULES else base), node.lineno
        if at_start_only and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            or is_type_checking(node)
        ):
            continue
        pending.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_are_the_folders(package: str) -> None:
    there = {
        path.stem
        for path in (ROOT / package).iterdir()
        if (path.suffix == ".py" or path.is_dir()) and not path.name.startswith("__")
    }
    assert there == set(ROOMS[package])
    assert len(ROOMS["elector"]) <= 12


def test_imports_point_downward() -> None:
    wrong = []
    for module, path in MODULES.items():
        for imported, line in imports(path):
            if imported.partition(".")[0] not in PACKAGES or imported == module:
                continue
            # What starts a package imports lazily from its rooms.
            if not (floor(imported) < floor(module) or room(imported) == room(module)):
                wrong.append(f"{module}:{line}: {imported}")
    assert not wrong, f"imports upward: {wrong}"


def isolated_part(module: str, package: str) -> str:
    """The member of an isolated package that a module belongs to, "" for none."""
    return ".".join(module.split(".")[: package.count(".") + 2]) if module != package else ""


@pytest.mark.parametrize("package", sorted(ISOLATED))
def test_members_of_a_registry_do_not_know_one_another(package: str) -> None:
    shared = ISOLATED[package]
    for module, path in MODULES.items():
        if not module.startswith(f"{package}.") or isolated_part(module, package) in shared:
            continue
        for imported, line in imports(path):
            part = isolated_part(imported, package) if imported.startswith(f"{package}.") else ""
            allowed = part in ("", *shared, isolated_part(module, package))
            assert allowed, f"{module}:{line}: {imported}"


def test_no_circles_even_lazy_ones() -> None:
    needs = {
        module: {name for name, _ in imports(path)} & MODULES.keys() - {module}
        for module, path in MODULES.items()
    }
    # A package's own face imports its members lazily, and they may name its version.
    for package in PACKAGES:
        needs[package] = set()
    while free := [module for module, needed in needs.items() if not needed]:
        needs = {m: needed - set(free) for m, needed in needs.items() if m not in free}
    assert not needs, f"import circle among {needs}"


def test_elector_does_not_know_transcode() -> None:
    wrong = [
        f"{module}:{line}: {name}"
        for module, path in MODULES.items()
        for name, line in imports(path)
        if module.startswith("elector") and name.partition(".")[0] == "transcode"
    ]
    assert not wrong


@pytest.mark.parametrize(("package", "unwanted"), FORBIDDEN)
def test_parts_that_may_not_meet(package: str, unwanted: str) -> None:
    for module, path in MODULES.items():
        if module == package or module.startswith(f"{package}."):
            assert unwanted not in {name for name, _ in imports(path)}, module


def test_nobody_asks_what_kind_of_engine_it_is() -> None:
    """What engines differ in they say themselves."""
    kinds = ("Engine", "Evolve", "Parzen", "StreamEngine", "SharedStudy")
    for path in SOURCES:
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                asked = ast.unparse(node.args[1])
                assert not any(kind in asked for kind in kinds), f"{path}:{node.lineno}"


def calls_by_name() -> Iterator[tuple[str, Path, ast.Call, str]]:
    """(module:line, its file, call, function) of every call of a plain name."""
    for module, path in MODULES.items():
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield f"{module}:{node.lineno}", path, node, node.func.id


def test_no_star_imports() -> None:
    wrong = [
        f"{module}:{node.lineno}"
        for module, path in MODULES.items()
        for node in nodes_of(path)
        if isinstance(node, ast.ImportFrom) and "*" in {alias.name for alias in node.names}
    ]
    assert not wrong


def test_no_stray_prints() -> None:
    prints = [(place, path) for place, path, _, name in calls_by_name() if name == "print"]
    assert not [place for place, path in prints if path.parent not in MAY_PRINT]


def test_no_hasattr_and_no_kwargs_passed_through() -> None:
    wrong = []
    for place, _, node, name in calls_by_name():
        passed_on = [k.value for k in node.keywords if k.arg is None]
        if name == "hasattr":
            wrong.append(f"{place}: hasattr()")
        if any(isinstance(value, ast.Name) and value.id == "kwargs" for value in passed_on):
            wrong.append(f"{place}: **kwargs passed through")
    assert not wrong


def test_heavy_libraries_wait_until_they_are_needed() -> None:
    wrong = []
    for module, path in MODULES.items():
        start = {name.partition(".")[0] for name, _ in imports(path, at_start_only=True)}
        heavy = HEAVY if module.startswith(("elector", "transcode.cli")) else {"torch"}
        if module.startswith(TRAINS):
            heavy = HEAVY - {"torch"}
        wrong += [f"{module} imports {name} when it is imported" for name in start & heavy]
    assert not wrong


def test_what_trains_is_imported_by_what_trains() -> None:
    wrong = [
        f"{module}:{line}: {name}"
        for module, path in MODULES.items()
        for name, line in imports(path, at_start_only=True)
        if name.startswith(TRAINS) and not module.startswith(TRAINS)
    ]
    assert not wrong


# Names from outside are looked at in one place (elector.base.paths says why); what a package
# ships stands under a constant of its own, and these modules write files or keep a run folder.
LOOKS = {
    *("exists", "is_file", "is_dir", "stat", "lstat", "access"),
    *("glob", "rglob", "iterdir", "walk", "listdir", "scandir"),
    *("read_text", "read_bytes", "open", "fopen"),
}
MAY_LOOK = {
    "elector.base.paths": LOOKS,
    "elector.base.output": {"open", "access"},  # the scratch file, and whether it may be replaced
    "elector.cli.streams": {"open", "exists"},  # standard output
    "elector.describe.imports.exported": {"open"},  # members of an archive
    "elector.studies.sweep_output": {"open"},  # what it writes
    "transcode.runs.files": {"open", "stat"},  # the lock
    "transcode.runs.study": {"open"},  # what it writes
    "transcode.search.warm": {"open"},  # what it writes
    "transcode.training.folder": {"open"},  # what it appends
    "transcode.training.text": {"glob", "read_text", "walk"},  # Python's own library
    "transcode.runs.manifest": {"rglob", "read_bytes"},  # this program, for its sum
    "transcode.cli.commands": {"glob"},  # completion of a shell
    "transcode.extras": LOOKS,  # how this program was installed
}


def is_shipped(node: ast.expr) -> bool:
    """Whether a path stands under a constant of the package, such as DATA / "tasks.csv"."""
    return any(isinstance(n, ast.Name) and n.id.isupper() for n in ast.walk(node))


def looks(module: str) -> list[str]:
    """Where a module looks at a path by itself, and may not."""
    allowed = MAY_LOOK.get(module, set())
    wrong = []
    for node in nodes_of(MODULES[module]):
        if not isinstance(node, ast.Call):
            continue
        function, of = node.func, [*node.args]
        if isinstance(function, ast.Attribute):
            name, owner = function.attr, function.value
            if isinstance(owner, ast.Name) and owner.id in ("paths", "graph", "image"):
                continue
            of.append(owner)
        elif isinstance(function, ast.Name):
            name = function.id
            if name != "open":  # read_text is imported from paths
                continue
        else:
            continue
        if name in LOOKS - allowed and not any(is_shipped(part) for part in of):
            wrong.append(f"{module}:{node.lineno}: {name}()")
    return wrong


def test_one_module_looks_at_paths() -> None:
    wrong = [place for module in MODULES for place in looks(module)]
    assert not wrong, f"use elector.base.paths: {wrong}"


def third_party_after(code: str) -> set[str]:
    """Top-level third-party packages loaded once `code` has run in a fresh Python."""
    script = (
        f"import sys, json\nbefore = set(sys.modules)\ntry:\n    {code}\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps(sorted(names - set(sys.stdlib_module_names))), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stderr.splitlines()[-1])
    return {name for name in loaded if not name.startswith("_")}  # parts of compiled modules


def test_importing_elector_loads_next_to_nothing() -> None:
    assert third_party_after("import elector") <= IMPORTED_BY_ELECTOR


@pytest.mark.parametrize("format", ["table", "json"])
def test_simulate_into_a_pipe_loads_neither_pandas_nor_rich(format: str) -> None:
    loaded = third_party_after(
        "from elector.cli import main; "
        f"main(['simulate', 'bert-tiny', 'tpu-v4i', '--format', '{format}'])"
    )
    assert loaded <= IMPORTED_BY_SIMULATE


def test_help_of_transcode_loads_no_heavy_library() -> None:
    loaded = third_party_after("from transcode.cli import main; main(['--help'])")
    assert not loaded & HEAVY


# Written in pieces, so that this file does not find itself.
MACHINE_PATHS = re.compile(
    "|".join(["/" + "work/", "/" + "root/", "/" + r"home/\w+/", r"/Users/\w+/", r"\.pyenv" + "/"])
)
ADDRESSES = re.compile("|".join(["(extra-)?" + "index-url", "file" + "://", "find" + "-links"]))


def test_nothing_names_one_machine_or_one_registry(repository_files: list[Path]) -> None:
    places = []
    for file in repository_files:
        if file.suffix in {".png", ".parquet"} or file == Path(__file__).resolve():
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATHS.search(line) or ADDRESSES.search(line):
                places.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not places


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_say_what_comes_in_what_goes_out_and_what_is_new(package: str) -> None:
    silent = []
    for room_name in ROOMS[package]:
        folder = ROOT / package / room_name
        path = folder / "__init__.py"
        if not path.exists() or room_name == "data":
            continue
        text = ast.get_docstring(tree_of(path)) or ""
        if not all(
            re.search(p, text)
            for p in (r"\b[Ii]n comes?\b", r"\bout (comes?|goes|go)\b", r"\bnew\b")
        ):
            silent.append(room_name)
    assert not silent, "see CONTRIBUTING.md: the `__init__` of a room says these three"
