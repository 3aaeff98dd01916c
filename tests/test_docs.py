"""The documentation says what the program does, and its commands run."""

from __future__ import annotations

import ast
import contextlib
import csv
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DATA = ROOT / "elector" / "data"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINKED = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "results/README.md"))]
LINKED += sorted((ROOT / "benchmarks").glob("*.md"))
WRITTEN_BY_HAND = [page for page in PAGES if not page.name.startswith("reference-")]
EVIDENCE = {"measured", "published", "synthesis", "scaled", "derived", "assumed"}


def load_generator() -> ModuleType:
    """docs/generate.py as a module, which finds its neighbours."""
    sys.path.insert(0, str(DOCS))
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generate = load_generator()


@cache
def program(name: str) -> click.Command:
    """The command line of one program."""
    main = importlib.import_module(f"{name}.cli").main
    assert isinstance(main, click.Command)
    return main


@cache
def text_of(pages: tuple[Path, ...]) -> str:
    """The text of several pages."""
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize(
    "page",
    [
        # runs every validation case
        pytest.param(name, marks=pytest.mark.slow if name == "validation" else ())
        for name in generate.REFERENCE
    ],
)
def test_reference_pages_are_up_to_date(page: str) -> None:
    path = DOCS / f"{page}.md"
    assert path.read_text(encoding="utf-8") == generate.reference_page(page), "run `make docs`"


@pytest.mark.parametrize("name", ["elector", "transcode"])
def test_every_command_and_option_is_documented(name: str) -> None:
    reference = (DOCS / f"reference-{name}.md").read_text(encoding="utf-8")
    explained = text_of(tuple(WRITTEN_BY_HAND))
    for words, command in generate.commands(program(name), name):
        assert f"## `{words}`\n" in reference
        assert command.help, f"{words} has no help text"
        assert words in explained, f"no page written by hand mentions `{words}`"
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help, f"{words} {option.opts[0]} has no help text"
                assert all(f"`{o}`" in reference for o in option.opts), f"{words} {option.opts}"


@pytest.mark.parametrize("name", ["elector", "transcode"])
def test_help_shows_examples(name: str) -> None:
    for words, command in generate.commands(program(name), name):
        if not isinstance(command, click.Group):
            assert f"{name} " in (command.help or ""), f"`{words} --help` shows no example"


def test_every_setting_is_documented() -> None:
    reference = (DOCS / "reference-settings.md").read_text(encoding="utf-8")
    for path in (DATA / "schema").glob("*.csv"):
        prefix = generate.NAMESPACE.get(path.stem, "accelerator.")
        for row in generate.read_csv(path):
            assert f"`{prefix}{row['key']}`" in reference
            assert row["description"].strip(), f"{path.name}: {row['key']}"


@pytest.mark.parametrize(
    "path", sorted((DATA / "technology").glob("*.csv")), ids=lambda path: path.stem
)
def test_every_constant_has_unit_source_and_evidence(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(line for line in stream if not line.startswith("#")))
    assert rows
    for number, row in enumerate(rows, 2):
        assert None not in row, f"{path.name}:{number}: too many cells"
        for column in ("unit", "source"):
            assert (row[column] or "").strip(), f"{path.name}:{number}: no {column}"
        assert row["evidence"] in EVIDENCE, f"{path.name}:{number}"


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    body = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", body):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as the usual renderers name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


PLACE = re.compile(r"`((?:elector|transcode|tests|benchmarks|docs|spaces)/[\w./-]*)")
NAME = re.compile(r"`((?:elector|transcode)(?:\.\w+)+)(?:\(.*?\))?`")
#: Names that look like modules, and files that a page makes.
NOT_HERE = ("transcode.yaml", "elector.yaml")
MADE = ("elector/machines/nearbank.py", "elector/data/schema/nearbank.csv")


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for place in PLACE.findall(text):
        there = any((folder / place).exists() for folder in (ROOT, ROOT / "tests"))
        assert there or place in MADE, f"{page.name} names {place}"


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_functions_that_a_page_names_exist(page: Path) -> None:
    for name in NAME.findall(page.read_text(encoding="utf-8")):
        assert name in NOT_HERE or resolves(name), f"{page.name} names {name}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module or something in one; only names are looked at, since
    some modules need PyTorch."""
    words = name.split(".")
    for size in range(len(words), 0, -1):
        base = ROOT.joinpath(*words[:size])
        source = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if source.exists():
            text = source.read_text(encoding="utf-8")
            return all(re.search(rf"\b{word}\b", text) for word in words[size:])
    return False


def test_commands_of_the_readme_are_make_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.M))
    named = re.findall(r"(?:^|`|\$ )make ([a-z-]+)", text_of((ROOT / "README.md",)), flags=re.M)
    assert {"search", "test"} <= set(named)
    assert set(named) <= targets


def test_every_page_of_figures_is_named_in_the_benchmarks() -> None:
    index = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "benchmarks").glob("*.md"):
        assert page.stem == "README" or f"({page.name})" in index, page.name


def test_every_page_is_reachable_from_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in DOCS.glob("*.md"):
        assert page.stem == "index" or f"({page.name})" in index, page.name


def within_this_process(apart: Callable[..., str]) -> Callable[..., str]:
    """What `run` of docs/generate.py does, without a process for each call of the programs.

    apart : that function, for what a shell has to read.
    """

    def run(command: str, folder: Path, status: int) -> str:
        name, *words = command.split(None, 1)
        if name not in ("elector", "transcode") or re.search(r"[|<>;&$`*~#\n\\]", command):
            return apart(command, folder, status)
        with contextlib.chdir(folder):
            asked = shlex.split(" ".join(words))
            done = CliRunner().invoke(program(name), asked, env=generate.environment())
        assert done.exit_code == status, f"`{command}`: {done.output}"
        return done.stdout + (done.stderr if status else "")

    return run


#: Pages whose commands take seconds; what they show of simulate is in README.md, too.
LONG = ("simulate", "uncertainty", "search", "ci-sweeps", "technology", "spaces")


def test_every_command_shown_exists() -> None:
    known = {w for p in ("elector", "transcode") for w, _ in generate.commands(program(p), p)}
    shown = re.findall(r"^\$? ?((?:elector|transcode) [a-z]+)\b", text_of(tuple(PAGES)), re.M)
    assert shown
    assert set(shown) <= known


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=pytest.mark.slow if page.stem in LONG else ())
        for page in generate.command_pages()
    ],
)
def test_commands_in_pages_give_the_output_shown(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "run", within_this_process(generate.run))
    assert generate.refreshed(page) == page.read_text(encoding="utf-8"), "run `make docs`"


def test_every_benchmark_is_listed_with_what_it_repeats() -> None:
    """Those that others import have no figures of their own."""
    page = (DOCS / "reproduce.md").read_text(encoding="utf-8")
    scripts = {path.stem: path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py")}
    runs = {name for name, text in scripts.items() if '__name__ == "__main__"' in text}
    named = set(re.findall(r"benchmarks/(\w+)\.py", page)) | {"speed", "scalesim_peer"}
    assert "`make bench`" in page  # speed, and the peer that it starts
    assert runs <= named <= set(scripts)


def test_reproduce_runs_what_its_page_says() -> None:
    recipe = (
        (ROOT / "Makefile").read_text("utf-8").partition("\nreproduce:")[2].partition("\n\n")[0]
    )
    for words in ("docs/generate.py --check", "elector validate", "transcode search"):
        assert words in recipe and words in (DOCS / "reproduce.md").read_text("utf-8")


# ---- the glossary

SHAPE = re.compile(r"\((?:\d+|[A-Z])(?:, (?:\d+|[A-Z]))*,?\)")


def test_the_glossary_is_written_from_its_table() -> None:
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    assert generate.glossary() == page, "run `make docs`"


def test_every_axis_of_a_docstring_is_in_the_glossary() -> None:
    rows = generate.read_csv(DOCS / "glossary.csv")
    axes = {row["term"] for row in rows if row["kind"] == "axis"}
    assert len(axes) == sum(row["kind"] == "axis" for row in rows)
    used: dict[str, set[str]] = {}
    for package in ("elector", "transcode"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    continue
                for shape in SHAPE.findall(ast.get_docstring(node) or ""):
                    for axis in re.findall("[A-Z]", shape) if "," in shape else ():
                        used.setdefault(axis, set()).add(path.name)
    assert len(used) > 10
    unknown = {axis: files for axis, files in used.items() if axis not in axes}
    assert not unknown, "name the axis in docs/glossary.csv, and run `make docs`"
