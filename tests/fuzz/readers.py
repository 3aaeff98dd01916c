"""Readers of the Python API: what each format is read by, without a command around it.

An input that only goes through its reader costs a tenth of one that goes through commands, so an
attack of many inputs gives all of them to the readers and some of them to the commands too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import elector
import transcode
from elector.describe.formats import load_model, load_scalesim_config
from elector.evaluation.accelerators import load_accelerator
from elector.operations.sparsity import load_sparsity
from elector.studies.sweep_table import read_table
from elector.studies.training_run import read_plan
from elector.studies.validation_cases import load_cases
from elector.technology import Technology
from transcode.accuracy import user_rows
from transcode.runs import checks, query, snapshot
from transcode.search import warm
from transcode.space import reader


def _text(path: Path) -> str:
    return path.read_text("utf-8", "replace").replace("\0", "")


def _setting(path: Path) -> object:
    """A setting as a cell of a table: not through the parser of `--set`."""
    name, _, value = _text(path).partition("=")
    return elector.evaluate([{"model": "bert-tiny", "accelerator": "systolic", name: value}])


def _name(path: Path) -> object:
    """A name where a model, an accelerator and a run are asked for; the last refusal is raised."""
    text = _text(path)
    for read in (load_model, load_accelerator, transcode.load_run):
        try:
            read(text)
        except elector.ElectorError as error:
            refused = error
    raise refused


def _run(path: Path) -> Path:
    return path.parent / "run" if (path.parent / "run").exists() else _run(path.parent)


def _condition(path: Path) -> object:
    return transcode.front(_run(path), where=_text(path))


def _objectives(path: Path) -> object:
    return transcode.front(_run(path), objectives=_text(path))


def _front(path: Path) -> object:
    """front.csv as the front of its run, as a table, and as designs to begin with."""
    snapshot.taken(_run(path))
    for read in (
        read_table,
        lambda p: warm.designs(reader.load(_run(path).parent / "few.yaml"), p),
    ):
        try:
            read(path)
        except elector.ElectorError as error:
            refused = error
        else:
            continue
        raise refused
    return None


def _moment(path: Path) -> object:
    """A manifest by everything that reads one: the later ones see what the first lets through."""
    run = _run(path)
    snapshot.taken(run)
    repr(transcode.load_run(run))
    transcode.compare(run, run)
    checks.check(query.opened(run), ["hypervolume >= 0"], None)
    page = run.parent / "report.html"
    transcode.report(run, out=page)
    page.unlink()  # asked for: whatever else is written is a fault
    return None


def _baseline(path: Path) -> object:
    return checks.check(query.opened(_run(path)), ["hypervolume >= baseline"], str(path))


def _part(path: Path) -> object:
    return query.front(query.opened(_run(path)), [], None)


#: Label of a target -> its reader, and of how many inputs one goes through the commands too: so
#: many that either takes about as long.
READERS: dict[str, tuple[Callable[[Path], object], int]] = {
    "model": (lambda path: load_model(str(path)), 8),
    "config": (lambda path: load_model(str(path)), 8),
    "products": (lambda path: load_model(str(path)), 8),
    "operations": (lambda path: load_model(str(path)), 8),
    "accelerator": (lambda path: elector.show(str(path)), 8),
    "scale-sim": (load_scalesim_config, 8),
    "sparsity": (lambda path: load_sparsity(str(path)), 8),
    "technology": (Technology.load, 8),
    "plan": (read_plan, 16),
    "cases": (load_cases, 16),
    "table": (read_table, 32),
    "setting": (_setting, 8),
    "name": (_name, 128),
    "space": (reader.load, 256),
    "ratings": (user_rows.read_rows, 64),
    "scores": (user_rows.read_rows, 128),
    "condition": (_condition, 8),
    "choice": (_objectives, 8),
    "manifest": (_moment, 128),
    "front": (_front, 512),
    "front.json": (_baseline, 512),
    "part": (_part, 256),
}
