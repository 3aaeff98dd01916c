"""Writes the parts of the documentation that follow from the code, and checks them.

    python docs/generate.py           rewrite what is out of date
    python docs/generate.py --check   say what is out of date; exit 1 if anything is

Four kinds: the reference pages of both commands (from their definitions), the reference
pages of results, settings and technology (from the tables the code reads), the output shown
under every command in README.md and docs/ that stands in a block marked

    <!-- run -->                status 0, the output as shown
    <!-- run status=3 -->       another exit status
    <!-- run lines=12 -->       the first 12 lines of output, then `...`
    <!-- run unchecked -->      the status only: the output contains times

and the tables of computed figures (docs/figures.py), between `<!-- table NAME -->` and
`<!-- /table -->`.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import architecture_page
import click
import figures
import validation_page
import yaml

from elector.base.choices import choices
from elector.evaluation.applies import conditions

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DATA = ROOT / "elector" / "data"
GENERATED = "<!-- Written by docs/generate.py; edit the code or the tables it reads. -->\n\n"
# Schema -> prefix of its keys; those of every other schema are an accelerator's.
NAMESPACE = {
    "model": "model.",
    "layer": "model.layer<i>.",
    "workload": "workload.",
    "model_file": "",
    "link": "accelerator.links.A-B.",
}

BLOCK = re.compile(r"<!-- run(?P<options>[^>]*?) ?-->\n```console\n(?P<body>.*?)```\n", re.S)
SHARED = ("spaces", "docs")  # what the commands of a page find in their folder
SECONDS = 600


# ---- reference pages ----


def escape(text: object) -> str:
    """`text` inside a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(header: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """`command` and everything below it, with the words a user types."""
    yield name, command
    if isinstance(command, click.Group):
        for word, child in sorted(command.commands.items()):
            if not child.hidden:
                yield from commands(child, f"{name} {word}")


def option_row(option: click.Option) -> tuple[object, ...]:
    """Names, values, default and help of one option."""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if isinstance(option.type, click.Choice):
        values = " ".join(f"`{choice}`" for choice in option.type.choices)
    else:
        values = "" if option.is_flag else (option.metavar or option.type.name.upper())
    plain = isinstance(option.default, str | int | float) and not option.is_flag
    default = f"`{option.default}`" if plain else ""
    return names, values, default, option.help or ""


def help_text(command: click.Command) -> str:
    """The help of a command, the same whatever Python did to its indentation."""
    text = (command.help or "").replace("\b", "")
    paragraphs = re.split(r"\n(?:[ \t]*\n)+", text)
    return "\n\n".join(textwrap.dedent(part).strip("\n") for part in paragraphs).strip()


def command_section(name: str, command: click.Command) -> str:
    """Heading, usage, help and options of one command."""
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    words = [name, *(a.make_metavar(click.Context(command)) for a in arguments)]
    words += ["[OPTIONS]"] if options else []
    words += ["COMMAND ..."] if isinstance(command, click.Group) else []
    text = f"## `{name}`\n\n```text\n{' '.join(words)}\n"
    text += f"\n{help_text(command)}\n```\n"
    if options:
        header = ("option", "value", "default", "meaning")
        text += "\n" + table(header, [option_row(option) for option in options])
    return text


def cli_page(program: str) -> str:
    """The reference page of one program."""
    main = importlib.import_module(f"{program}.cli").main
    sections = [command_section(name, command) for name, command in commands(main, program)]
    return f"# `{program}`: commands and options\n\n" + "\n".join(sections)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV, comment lines left out."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def schema_row(prefix: str, row: dict[str, str]) -> tuple[object, ...]:
    """Key, type, unit, default, allowed values, meaning, and what it does to an accuracy."""
    span = " to ".join(part for part in (row["low"], row["high"]) if part)
    allowed = " ".join(f"`{choice}`" for choice in choices(row["choices"]) or ()) or span
    unit = "" if row["unit"] == "1" else row["unit"]
    default = f"`{row['default']}`" if row["default"] else ""
    accuracy = ": ".join(part for part in (row["accuracy"], row["accuracy_reason"]) if part)
    key, meaning = f"`{prefix}{row['key']}`", row["description"]
    if row.get("applies"):
        needs = " and ".join(condition.text for condition in conditions(row["applies"]))
        meaning += f"; counts where {needs}"
    if row.get("fixed"):
        meaning += f"; not to be searched: {row['fixed']}"
    return key, row["type"], unit, default, allowed, meaning, accuracy


def schema_page() -> str:
    """Every key of every schema."""
    text = "# Every setting\n\nFor `--set`, the columns of a sweep and the keys of a space."
    text += (
        " Bare numbers are in the unit shown. `accuracy` says whether a setting can change what a"
    )
    text += " model scores: a search for accuracy takes such a one only where a source prices it.\n"
    for path in sorted((DATA / "schema").glob("*.csv")):
        prefix = NAMESPACE.get(path.stem, "accelerator.")
        title = f"`{prefix}*`" if prefix else "Further keys of a model file"
        title += f" of `{path.stem}`" if prefix == "accelerator." else ""
        header = ("key", "type", "unit", "default", "allowed", "meaning", "accuracy")
        rows = [schema_row(prefix, row) for row in read_csv(path)]
        text += f"\n## {title}\n\n" + table(header, rows)
    return text


def results_page() -> str:
    """Every result: what it is called, its unit, when it is there, which side is better."""
    text = """# Every result

For the JSON of `elector simulate`, the columns of a sweep, `--result`, validation, and the
objectives, constraints and records of a space. With several workloads a result is called
`NAME.latency_s`; those of the chip and the model alone keep their plain names. A group has its
parts behind it: `memory_bytes.weights`. `exists` says when a result is there: `always`, for
infeasible designs too; `feasible`; `generate`, where tokens are generated; `cells`, on machines
whose weights lie in cells; `run` and `accuracy`, in a space that has them.
"""
    for title, folder in (("elector", DATA), ("transcode", ROOT / "transcode" / "data")):
        rows = [
            (
                f"`{row['name']}{'.' + row['axis'] if row['axis'] else ''}`",
                "" if row["unit"] == "1" else row["unit"],
                row["of"],
                row["exists"],
                row["better"],
                row["description"] + (f" = {row['formula']}" if row["formula"] else ""),
            )
            for row in read_csv(folder / "results.csv")
        ]
        header = ("result", "unit", "of", "exists", "better", "meaning")
        text += f"\n## `{title}`\n\n" + table(header, rows)
    return text


def rows_section(path: Path) -> str:
    """A heading and every row of one table."""
    rows = read_csv(path)
    body = table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    return f"\n## {path.stem}\n\n{body}"


def technology_page() -> str:
    """Every constant, what each quantity means, and what the names of sources stand for."""
    text = """# Every technology constant

As read. `elector explain price PART` shows what becomes of one at another node. Evidence:
measured, published, synthesis, scaled, derived (computed from figures of the source), assumed.
`verified` says whether the figure was seen in the source itself (yes), alike in two works that
quote it (two), or in one of them (no), which is reported with the assumed.
"""
    tables = sorted((DATA / "technology").glob("*.csv"))
    text += "".join(rows_section(path) for path in [*tables, DATA / "quantities.csv"])
    sources = yaml.safe_load((DATA / "sources.yaml").read_text(encoding="utf-8"))
    rows = [(f"`{name}`", source) for name, source in sources.items()]
    return text + "\n## sources\n\n" + table(("name", "source"), rows)


def endings(kind: str) -> str:
    """Classes of a row of model types, with the head each of them stands for."""
    from elector.describe.formats.hf.types import HEADS

    return ", ".join(f"{ending} ({head})" for ending, head in HEADS[kind].items())


def models_page() -> str:
    """The reader's tables: model types, what each reads, and keys that change nothing."""
    text = """# Every model type

What is read of a Hugging Face configuration: a row of `elector/data/model_types.csv` for each
`model_type`. A key that is not read, not among those of other programs, and not of the kinds at
the end is refused by name; `--ignore-key KEY` reads past it, and a note says so. Parameters and
multiply-accumulates of these types equal those of the classes of transformers 5.24 wherever
`benchmarks/model_configs.py` compares them (`tests/data/model_configs.csv`).
"""
    rows = [
        (
            f"`{row['model_type']}`",
            f"`{row['classes']}...`",
            row["layout"],
            " ".join(f"`{key}`" for key in row["reads"].split()),
            " ".join(f"`{word}`" for word in row["names"].split()),
            " ".join(f"`{word}`" for word in row["also"].split()),
            row["note"],
        )
        for row in read_csv(DATA / "model_types.csv")
    ]
    header = ("type", "classes", "layout", "keys read", "called", "of other programs", "note")
    text += f"\n## Types\n\n{table(header, rows)}"
    heads = [
        (f"`{kind}`", endings(kind))
        for kind in sorted({r["heads"] for r in read_csv(DATA / "model_types.csv")})
    ]
    text += f"\n## Classes\n\n{table(('heads', 'endings'), heads)}"
    neutral = [(f"`{row['key']}`", row["reason"]) for row in read_csv(DATA / "config_keys.csv")]
    return text + f"\n## Keys that change nothing\n\n{table(('keys', 'why'), neutral)}"


#: Page -> what writes it.
REFERENCE: dict[str, Callable[[], str]] = {
    "reference-models": models_page,
    "reference-elector": partial(cli_page, "elector"),
    "reference-transcode": partial(cli_page, "transcode"),
    "reference-results": results_page,
    "reference-settings": schema_page,
    "reference-technology": technology_page,
    "architecture": architecture_page.page,
    "validation": validation_page.page,
}


def reference_page(name: str) -> str:
    """What a page of REFERENCE should contain."""
    return GENERATED + REFERENCE[name]()


def reference_pages() -> dict[Path, str]:
    """File -> what it should contain."""
    return {DOCS / f"{name}.md": reference_page(name) for name in REFERENCE}


# ---- commands shown in the pages ----


def command_pages() -> list[Path]:
    """The pages whose marked commands are run."""
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def environment() -> dict[str, str]:
    """Plain text, a fixed width, and this interpreter's own commands first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    plain = {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    return {**os.environ, **plain}


def split_commands(body: str) -> list[str]:
    """The commands of a block (`$ ...`, continued lines included)."""
    entered: list[str] = []
    continued = False
    for line in body.splitlines():
        if continued:
            entered[-1] += "\n" + line
        elif line.startswith("$ "):
            entered.append(line[2:])
        else:
            continue
        continued = line.endswith("\\")
    return entered


def run(command: str, folder: Path, status: int) -> str:
    """Standard output of `command`, then its messages; any other status is an error."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode != status:
        problem = f"`{command}` exited with {done.returncode}, not {status}"
        raise RuntimeError(f"{problem}\n{done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if status else "")


def shown(output: str, limit: int | None) -> str:
    """`output` as it is printed in the page."""
    lines = [line.rstrip() for line in output.rstrip().splitlines()]
    if limit is not None and len(lines) > limit:
        lines = [*lines[:limit], "..."]
    return "".join(f"{line}\n" for line in lines)


def rerun(block: re.Match[str], folder: Path) -> str:
    """The block with the output its commands give now."""
    options = block["options"].split()
    values = dict(option.split("=") for option in options if "=" in option)
    limit = int(values["lines"]) if "lines" in values else None
    body = ""
    for command in split_commands(block["body"]):
        output = run(command, folder, int(values.get("status", 0)))
        body += f"$ {command}\n{shown(output, limit)}"
    if "unchecked" in options:
        return block[0]
    return f"<!-- run{block['options']} -->\n```console\n{body}```\n"


def refreshed(page: Path) -> str:
    """The page with its tables and the output of every marked command as they are now."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for shared in SHARED:
            (folder / shared).symlink_to(ROOT / shared)
        text = figures.filled(page.read_text(encoding="utf-8"))
        return BLOCK.sub(lambda block: rerun(block, folder), text)


def glossary() -> str:
    """docs/glossary.md with symbols, axes and arguments, which stand in docs/glossary.csv."""
    page = (DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = read_csv(DOCS / "glossary.csv")
    symbols = [(r["term"], r["meaning"], r["unit"]) for r in rows if r["kind"] == "symbol"]
    axes = [(r["term"], r["meaning"]) for r in rows if r["kind"] == "axis"]
    arguments = [
        (f"`{r['term']}`", " or ".join(f"`{t}`" for t in r["unit"].split(" or ")), r["meaning"])
        for r in rows
        if r["kind"] == "argument"
    ]
    text = "\n".join(
        [
            "## Symbols\n",
            table(("symbol", "meaning", "unit"), [*symbols]),
            "## Axes of arrays\n",
            "A shape in a docstring, such as (R, D), names its axes by these letters; in an "
            "equation\nletters are symbols.\n",
            table(("axis", "over"), [*axes]),
            "## Arguments\n",
            "What these arguments mean in every function that takes one of such a type; "
            "docstrings\ndo not repeat it.\n",
            table(("argument", "type", "meaning"), [*sorted(arguments)]),
        ]
    )
    marks = re.compile(r"<!-- glossary -->\n.*?<!-- /glossary -->", re.S)
    return marks.sub(lambda _: f"<!-- glossary -->\n{text}<!-- /glossary -->", page)


def json_schemas() -> dict[Path, str]:
    """The JSON Schemas that shipped files name in their first line."""
    from elector.studies.schemas import NAMES, json_schema

    return {
        DATA / "json_schema" / f"{name}.json": json.dumps(json_schema(name), separators=(",", ":"))
        + "\n"
        for name in NAMES
    }


def named_schemas() -> dict[Path, str]:
    """Shipped files, each with the schema of its kind in the first line, for editors."""
    texts = {}
    for kind, folder in (
        ("accelerator", DATA / "accelerators"),
        ("model", DATA / "models"),
        ("space", ROOT / "spaces"),
    ):
        schema = os.path.relpath(DATA / "json_schema" / f"{kind}.json", folder)
        line = f"# yaml-language-server: $schema={schema}\n"
        for path in sorted(folder.glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            texts[path] = text if text.startswith(line) else line + text
    return texts


def main() -> int:
    """Rewrite, or with --check only report, what is out of date."""
    check = "--check" in sys.argv[1:]
    wanted = (
        reference_pages() | json_schemas() | named_schemas() | {DOCS / "glossary.md": glossary()}
    )
    if not check:
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
    wanted |= {page: refreshed(page) for page in command_pages() if page not in wanted}
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in stale:
        print(f"out of date: {path.relative_to(ROOT)}" if check else f"wrote {path.name}")
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
