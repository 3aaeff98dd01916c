"""Figures of the documentation cannot go stale.

A figure is a number with a unit, or in a table a decimal. It stands in a block that `make docs`
writes (the output of a command, a table of docs/figures.py, a reference page), or in a section
that ends in a line `Source: ...` (in benchmarks/: `Measured: ...`), which names where it comes
from: a benchmark with its date and commit, a table or a test of the repository, a source of the
technology tables, or a publication.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "docs" / "validation.template"]  # the prose of a page that is generated
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.md"))
# What no person writes: the whole page comes from code or tables, or from the template that is one.
GENERATED = re.compile(r"<!-- Written by docs/generate.py")

UNITS = (
    r"%|[mun]?s|seconds|minutes|hours|[mun]?J|[mk]?W|[pf]J|mm2|um2|cycles|points|[kMG]B|[GT]B/s|"
    r"[TG]flop/s|TOPS|Top/s|[a-z]+/s|times|x(?= as\b)|faster|slower"
)
NUMBER = r"(?<![\w.,/^-])[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
FIGURE = re.compile(rf"{NUMBER} ?(?:{UNITS})(?!\w)(?! \d)")
# Without a unit, in a row of a table: .9987, 12.05; versions such as 3.1 are no figures.
DECIMAL = re.compile(rf"{NUMBER}(?<=\.\d\d)\d*(?![\w.])")
# What stands in blocks: output of commands and other code, generated tables, comments.
BLOCKS = re.compile(
    r"```.*?```|<!-- table [\w-]+ -->.*?<!-- /table -->|<!-- glossary -->.*?<!-- /glossary -->|"
    r"<!--.*?-->|^ {4}\S.*?$",
    re.S | re.M,
)
# What is no figure inside a line: names of code, targets of links.
NAMES = re.compile(r"`[^`\n]*`|\]\([^)]*\)")
SOURCE = re.compile(r"^(?:Source|Measured): (.*?)(?:\n\n|\Z)", re.S | re.M)
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATE = rf"\d{{1,2}} (?:{MONTHS}) 20\d\d"
PUBLICATION = re.compile(r"arXiv \d{4}\.\d{5}|\bdoi 10\.\d+/|\bet al\.[ ,]")
PATH = re.compile(
    r"`((?:elector|transcode|tests|benchmarks|docs|spaces)[\w/.-]*\.(?:py|csv|yaml))`"
)

# Figures that are a question, an input or a way to write: section -> why it needs no source.
WITHOUT = {
    "sizing.md: Sizing a chip for a model": "what the reader asks for",
    "start.md: Five minutes to the first front": "what the reader asks for",
    "glossary.md: Glossary": "examples of how values are written",
    "reliability.md: Files, at any moment": "a pause of the program, not a figure",
}


def sections(text: str) -> list[tuple[str, str]]:
    """(heading, text) of each section of a page, without its blocks."""
    parts = re.split(r"^#+ (.+)$", BLOCKS.sub("\n", text), flags=re.M)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def figures(text: str) -> list[str]:
    """The figures of a section."""
    prose = NAMES.sub(" ", SOURCE.sub("", text))
    numbers = [match[0] for match in FIGURE.finditer(prose)]
    for line in prose.splitlines():
        if line.startswith("|"):
            numbers += [match[0] for match in DECIMAL.finditer(line)]
    return numbers


def written(page: Path) -> str:
    """The text of a page, "" if all of it is generated."""
    text = page.read_text(encoding="utf-8")
    return "" if GENERATED.match(text) else text


def named(line: str, page: Path) -> bool:
    """Whether a line names a source that is there; what a script measured has its date."""
    keys = yaml.safe_load((ROOT / "elector/data/sources.yaml").read_text(encoding="utf-8"))
    links = [
        (page.parent / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)]+)\)", line)
        if not target.startswith("http")
    ]
    paths = [ROOT / path for path in PATH.findall(line)]
    missing = [path for path in (*links, *paths) if not path.exists()]
    assert not missing, f"{page.name}: no {missing}"
    dated = re.search(DATE, line) is not None
    scripts = (path for path in (*links, *paths) if path.suffix == ".py")
    measured = any(path.parent.name == "benchmarks" for path in scripts) or "commit" in line
    if measured:
        flat = " ".join(line.split())
        assert dated, f"{page.name}: when was it measured? {flat}"
    by_key = any(key in keys for key in re.findall(r"`([\w-]+)`", line))
    return bool(
        links or paths or by_key or PUBLICATION.search(line) or (dated and "commit" in line)
    )


@pytest.mark.parametrize("page", [*PAGES, *BENCHMARKS], ids=lambda page: page.stem)
def test_every_figure_has_a_source(page: Path) -> None:
    for heading, body in sections(written(page)):
        numbers = figures(body)
        if not numbers or f"{page.name}: {heading}" in WITHOUT:
            continue
        lines = SOURCE.findall(body)
        assert lines, f"{page.name}, {heading}: no line `Source:` for {numbers[:5]}"
        assert any(named(line, page) for line in lines), f"{page.name}, {heading}: {lines}"


@pytest.mark.parametrize("page", BENCHMARKS, ids=lambda page: page.stem)
def test_every_measurement_has_date_and_commit(page: Path) -> None:
    for line in SOURCE.findall(page.read_text(encoding="utf-8")):
        flat = " ".join(line.split())
        assert re.search(DATE, flat), f"{page.name}: no date in {flat}"
        assert re.search(r"\bcommits? [0-9a-f]{7}\b", flat), f"{page.name}: no commit in {flat}"


def test_sections_without_a_source_have_figures() -> None:
    there = {
        f"{page.name}: {heading}": figures(body)
        for page in PAGES
        for heading, body in sections(written(page))
    }
    assert not {name for name in WITHOUT if not there.get(name)}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("takes 12.5 ms and 1,828 mJ", ["12.5 ms", "1,828 mJ"]),
        ("is 4 % slower, 1.9 times as much", ["4 %", "1.9 times"]),
        ("| `evolve` | .9987 | 0.35 |", [".9987", "0.35"]),
        ("16 x 16 tiles, Python 3.11, arXiv 2302.14705, 2 layers of 64", []),
        ("| Llama 3.1 | 6 |", []),
    ],
)
def test_what_counts_as_a_figure(text: str, expected: list[str]) -> None:
    assert figures(text) == expected


def test_limits_in_the_manual_of_searches_are_the_programs() -> None:
    from transcode import engines
    from transcode.engines.evolve import guided

    manual = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
    flat = " ".join(manual.split())
    for words in (
        f"a budget of at most {engines.THOUGHTFUL} designs",
        f"it spends {engines.FEW} where",
        f"goes on after the first {guided.UNTIL} ",
        f"end after {engines.DEFAULT_STREAM_BUDGET:,} designs, `tpe` after "
        f"{engines._SLOW_BUDGETS['tpe']}, `gp` after {engines._SLOW_BUDGETS['gp']}, "
        f"the other samplers after {engines.DEFAULT_BUDGET:,}",
    ):
        assert words in flat, words


def test_numbers_of_shipped_things_are_right() -> None:
    from elector.base.table import DATA, read_csv
    from elector.describe.formats.hf.types import kinds
    from elector.describe.numbers import formats
    from elector.machines.gpu.stacks import VARIANTS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "[more than a hundred model types](docs/reference-models.md)" in readme
    assert 100 < len(kinds()) < 200
    devices = len(read_csv(DATA / "accelerators" / "gpus.csv")[1])
    assert f"{devices} [GPUs](docs/gpu.md)" in readme
    assert f"\n{devices} devices)" in (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    stacks = {cells[0] for _, cells in read_csv(DATA / "stacks.csv")[1]}
    assert len(stacks - set(VARIANTS)) == 12 and "under twelve software stacks" in readme
    listed = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in listed for name in formats())
