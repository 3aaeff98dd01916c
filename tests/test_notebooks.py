"""The tutorial notebooks: every cell runs, from top to bottom, and draws what it says."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: Characters of a line of a table that a rendered page shows whole.
WIDEST = 130
#: Runs the cells of a notebook as Jupyter would: one namespace, the last expression shown.
RUNNER = """
import ast, json, sys
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt

drawn = []

def show():
    for number in plt.get_fignums():
        figure = plt.figure(number)
        figure.canvas.draw()
        drawn.append(any(ax.has_data() for ax in figure.axes))
    plt.close("all")

plt.show = show
names, shown, widest = {"__name__": "__main__"}, 0, 0
for number, source in enumerate(json.load(sys.stdin), 1):
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    where = f"cell {number}"
    exec(compile(ast.Module(body, []), where, "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), where, "eval"), names)
        if value is not None:
            html = getattr(value, "_repr_html_", None)
            if hasattr(value, "to_string"):
                widest = max(widest, *map(len, value.to_string().splitlines()))
            shown += bool(html() if html else repr(value))
print(json.dumps([drawn, shown, len(plt.get_fignums()), widest]))
"""


def cells(path: Path) -> list[dict[str, Any]]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    return list(notebook["cells"])


def code(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "code"]


def run(path: Path, folder: Path) -> None:
    """Every cell in a new process, in an empty folder."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(code(path)),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    drawn, shown, left, widest = json.loads(done.stdout.splitlines()[-1])
    assert len(drawn) >= 2 and all(drawn)
    assert shown >= 2
    assert left == 0, "a figure was drawn and not shown"
    assert 0 < widest <= WIDEST, "a table goes on beyond the page"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    contents = cells(path)
    assert len({cell["id"] for cell in contents}) == len(contents)
    assert contents[0]["cell_type"] == "markdown" and contents[0]["source"][0].startswith("# ")
    for cell in contents:
        assert "".join(cell["source"]).strip()
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    for source in code(path):
        ast.parse(source)  # plain Python: no line that only Jupyter reads


def test_files_that_the_text_names_exist() -> None:
    for path in NOTEBOOKS:
        text = "".join("".join(c["source"]) for c in cells(path) if c["cell_type"] == "markdown")
        for name in re.findall(r"`(docs/[\w.-]+)`", text):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_sizing_a_chip(tmp_path: Path) -> None:
    run(FOLDER / "sizing-a-chip.ipynb", tmp_path)


@pytest.mark.slow
@pytest.mark.extras("torch", "scipy", "sklearn")
def test_dynaprop_to_silicon(tmp_path: Path) -> None:
    run(FOLDER / "dynaprop-to-silicon.ipynb", tmp_path)


def test_every_notebook_is_run_and_linked() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    page = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert f'run(FOLDER / "{path.name}"' in source and f"(notebooks/{path.name})" in page
