"""docs/adding-a-machine.md builds a machine: its files are written into a copy of the packages, and
its commands run there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import programs
import pytest
from programs import together

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "adding-a-machine.md").read_text(encoding="utf-8")
#: Files that the page adds lines to: the line before which they go, or "" for the end.
ADDED = {"elector/machines/__init__.py": "}\n", "tests/elector/laws/roles.csv": ""}


def blocks() -> dict[str, str]:
    """File -> the block below the last mention of it."""
    parts = re.split(r"```(\w*)\n(.*?)```", PAGE, flags=re.S)
    by_file = {}
    for text, kind, block in zip(parts[::3], parts[1::3], parts[2::3], strict=False):
        names = re.findall(r"`([\w/-]+\.(?:py|csv|yaml))`", text)
        if kind in ("python", "csv", "yaml"):
            by_file[names[-1]] = block
    return by_file


def commands() -> list[str]:
    """The commands of the page."""
    shown = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.S))
    return shown.splitlines()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages with the machine of the page in it."""
    root = tmp_path_factory.mktemp("copy")
    for folder in ("elector", "transcode", "docs", "benchmarks", "tests/elector"):
        shutil.copytree(
            ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    shutil.copy(ROOT / "pyproject.toml", root)  # the marks of tests
    shutil.copy(ROOT / "tests" / "amounts.py", root / "tests" / "elector")
    for name, text in blocks().items():
        path = root / name
        if name in ADDED:
            before, where = path.read_text(encoding="utf-8"), ADDED[name]
            text = before.replace(where, text + where, 1) if where else before + text
        path.write_text(text, encoding="utf-8")
    return root


def run(copy: Path, *commands: str) -> list[str]:
    """What each of the commands prints; 3 is a design that is infeasible."""
    done = together([shlex.split(command) for command in commands], copy)
    for command, each in zip(commands, done, strict=True):
        assert each.code in (0, 3) and each.crash is None, f"{command}: {each}"
    return [each.out for each in done]


def simulated(copy: Path, *designs: str) -> list[dict[str, Any]]:
    """The JSON of each of the designs."""
    shown = run(copy, *(f"elector simulate {words} --format json" for words in designs))
    return [json.loads(text) for text in shown]


def test_the_page_holds_a_module_a_schema_and_one_line() -> None:
    files = blocks()
    code = [
        line
        for line in files["elector/machines/nearbank.py"].splitlines()
        if line.strip() and not line.strip().startswith(("#", '"""'))
    ]
    assert len(code) < 100
    assert len(files["elector/machines/__init__.py"].splitlines()) == 1
    assert len(commands()) == 9


def test_the_commands_of_the_page_run(copy: Path) -> None:
    first, *others = commands()
    program, *words = shlex.split(first)
    done = programs.run(program, *words, cwd=copy, env={"PYTHONPATH": ""})
    assert done.returncode in (0, 3), f"{first}: {done.stdout}{done.stderr}"
    run(copy, *others)


def test_the_figures_are_those_of_the_page(copy: Path) -> None:
    """By hand: the feed-forward product of BERT-tiny, and what one lane more is worth."""
    result, slow, small = simulated(
        copy,
        "bert-tiny nearbank --operations",
        "bert-tiny nearbank --set accelerator.lanes=64",
        "bert-base nearbank --set accelerator.memory_capacity=1e6",
    )
    row = next(r for r in result["operations"] if r["name"] == "feed-forward in")
    moved = 2.0 * (128 * 128 + 128 * 512 + 128 * 512)  # inputs, weights, outputs in 16 bits
    assert row["count"] == 2 and row["dram_bytes"] == 2 * moved
    assert row["seconds"] == pytest.approx(2 * max(128 * 128 * 512 / 4096e9, moved / 2e12))
    assert sum(result["latency_by_kind_s"].values()) == pytest.approx(result["latency_s"])
    assert result["energy_by_part_j"].keys() == {"lanes", "main memory", "leakage"}
    assert slow["latency_s"] > 8 * result["latency_s"] and slow["utilization"] <= 1
    assert small["reason"].startswith("main memory: needs")


def test_a_hybrid_uses_both_units(copy: Path) -> None:
    (result,) = simulated(copy, "bert-tiny pair.yaml --operations")
    assert {r["unit"] for r in result["operations"]} == {"array", "banks", "link array-banks"}


def test_a_trace_is_near_the_closed_form(copy: Path) -> None:
    (shown,) = run(copy, "elector trace bert-tiny nearbank --batch 4 --out four.json")
    off = re.search(r"closed form.*\(([+-][\d.]+)%\)", shown)
    assert off is not None and abs(float(off[1])) < 25


def test_a_machine_without_an_event_model_says_so(copy: Path) -> None:
    """Alone and as a unit of a hybrid; everything else works."""
    path = copy / "elector" / "machines" / "nearbank.py"
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(text.replace("events=events", "events=None"), encoding="utf-8")
        names = ("nearbank", "pair.yaml")
        results = simulated(copy, *(f"bert-tiny {name}" for name in names))
        assert all(result["feasible"] for result in results)
        traces = [f"elector trace bert-tiny {name} --out none.json" for name in names]
        for done in together([words.split() for words in traces], copy):
            assert done.code == 2 and "has no event model" in done.err
            assert done.crash is None and not (copy / "none.json").exists()
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("files", "least"),
    [
        pytest.param("laws", 8, marks=pytest.mark.slow),
        ("test_prices.py test_records.py", 3),  # every term multiplies out, no record is lost
        # the table option x machine x mode
        pytest.param("test_notes.py", 2, marks=pytest.mark.slow),
    ],
)
def test_the_tests_of_all_machines_find_it(copy: Path, files: str, least: int) -> None:
    """And hold: the page's machine has no discontinuity, and says what has no effect on it."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"),
            *(f"tests/elector/{name}" for name in files.split()),
            *("-m", "not slow", "-k", "nearbank"),
        ],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None and int(passed[1]) >= least, done.stdout[-500:]


def test_a_storage_format_is_one_row(copy: Path) -> None:
    """As the recipe of CONTRIBUTING.md has it: 5 bits, a scale of 16 bits for 32 values."""
    path = copy / "elector" / "data" / "formats.csv"
    with path.open("a", encoding="utf-8") as rows:
        rows.write("int5-g32,integer,5,5,32,16,no,nobody,2,assumed,as int4\n")
    ask = "gpt2 systolic --generate 2 --kv-cache int5-g32 --weights"
    asked = (f"{ask} {name} --operations" for name in ("same", "int5-g32"))
    wide, narrow = simulated(copy, *asked)
    matrices = 12 * 12 * 768**2
    saved = wide["memory_bytes"]["weights"] - narrow["memory_bytes"]["weights"]
    assert saved == matrices * (16 - 5.5) / 8  # products are of bf16 there
    kept = 2 * 12 * 768 * (128 + 2 - 1)
    assert narrow["memory_bytes"]["cache"] == wide["memory_bytes"]["cache"] == kept * 5.5 / 8
    unpacked = [r for r in narrow["operations"] if r["name"] == "feed-forward in dequantisation"]
    assert unpacked and all(r["seconds"] > 0 for r in unpacked)
    run(copy, "elector simulate --help")


@pytest.mark.slow
def test_the_reference_pages_find_it(copy: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, 'docs'); import generate; "
        "pages = {path.stem: text for path, text in generate.reference_pages().items()}; "
        "print('nearbank' in pages['reference-settings'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True", done.stderr
