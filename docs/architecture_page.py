"""The page docs/architecture.md: the rooms and what flows between them, read from the code."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: What a room without code is.
TABLES = "Tables that the package ships."

INTRODUCTION = """# Architecture

Two packages: `elector` evaluates designs, `transcode` searches them. `elector` knows nothing of
`transcode`. Each package is a row of rooms, folders or files directly below it, lowest first
([rooms.csv](rooms.csv)). A module imports from its own room and from those before it, and there
are no circles, lazy imports included; `tests/test_architecture.py` keeps that.

Two decisions carry the rest. **A machine counts, a technology prices**: a machine returns
seconds and how often each action happens, tables of constants turn counts into joules and parts
into square millimetres. **One path**: every evaluation, of one design or of millions, goes
through `elector.evaluation.path.evaluate`; a single design is a batch of one.

How to add something, room by room: [CONTRIBUTING.md](../CONTRIBUTING.md).

## One evaluation, from words to joules

{steps}
A search (`transcode.search`) turns codes of its engine into such columns, evaluates them in
batches, keeps in its archive what nothing beats, and records every design in its run folder.

## The rooms
"""

#: Where an evaluation passes, and what happens there.
STEPS = (
    ("elector.cli", "the words of the command become names and dotted settings"),
    (
        "elector.studies.simulation.simulate",
        "a question is put to the one path: columns of settings, one row a design",
    ),
    (
        "elector.evaluation.resolve.resolve",
        "settings are checked against the schemas; designs of one structure become a group",
    ),
    (
        "elector.operations.build",
        "the operations of each pair of model and workload, forward and backward, as rows (R, M)",
    ),
    (
        "elector.machines.contract.Prepared",
        "the machine answers with seconds of its resources, counts of its actions, and limits",
    ),
    (
        "elector.cost.schedule.schedule",
        "what can overlap overlaps; a power limit may lower the clock",
    ),
    (
        "elector.cost.pricing",
        "counts x prices of the technology are joules, parts x prices are square millimetres",
    ),
    ("elector.evaluation.formulas", "the results of the registry, each by its formula"),
)


def rooms() -> dict[str, list[str]]:
    """Package -> its rooms, lowest first."""
    rooms_of: dict[str, list[str]] = {}
    with (ROOT / "docs" / "rooms.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            rooms_of.setdefault(row["package"], []).append(row["room"])
    return rooms_of


def modules(package: str, room: str) -> Iterator[Path]:
    """The source files of a room."""
    folder = ROOT / package / room
    yield from sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, lazy imports included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def needs(package: str) -> dict[str, set[str]]:
    """Room -> the rooms of its package that it imports from."""
    known = rooms()[package]
    return {
        room: {
            name.split(".")[1]
            for path in modules(package, room)
            for name in imported(path)
            if name.startswith(f"{package}.") and name.split(".")[1] in known
        }
        - {room}
        for room in known
    }


def direct(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same flow without arrows that a longer way goes, too."""

    def below(room: str) -> set[str]:
        return edges[room].union(*(below(other) for other in edges[room]))

    return {
        room: {o for o in others if not any(o in below(p) for p in others - {o})}
        for room, others in edges.items()
    }


def sentence(package: str, room: str) -> str:
    """The first line of a room's docstring."""
    first = next(modules(package, room), None)
    if first is None:
        return TABLES
    lines = (ast.get_docstring(ast.parse(first.read_text(encoding="utf-8"))) or "").splitlines()
    return lines[0] if lines else TABLES


def picture() -> str:
    """What each room hands to which, as a Mermaid flow chart."""
    lines = ["```mermaid", "flowchart TD"]
    for package in rooms():
        lines.append(f"  subgraph {package}")
        for room, others in direct(needs(package)).items():
            lines.append(f"    {package}_{room}[{room}]")
            lines += [f"    {package}_{other} --> {package}_{room}" for other in sorted(others)]
        lines.append("  end")
    return "\n".join([*lines, "  elector --> transcode", "```"])


def steps() -> str:
    """The table of STEPS."""
    rows = "".join(f"| {i} | `{where}` | {what} |\n" for i, (where, what) in enumerate(STEPS, 1))
    return "| step | where | what happens |\n|---|---|---|\n" + rows


def page() -> str:
    """The whole page."""
    text = (
        INTRODUCTION.replace("{steps}", steps())
        + "\nWhat is used by what; an arrow is left out where a longer way leads there:\n\n"
    )
    text += picture() + "\n"
    for package, names in rooms().items():
        text += f"\n### {package}\n\n| room | what it is for | modules |\n|---|---|---|\n"
        for room in names:
            files = [path for path in modules(package, room) if path.stem != "__init__"]
            text += f"| `{room}` | {sentence(package, room)} | {len(files)} |\n"
    return text
