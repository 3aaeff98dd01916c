"""Every option of every command of `transcode` does what its help says.

Runs of `transcode train` are in training/train_options.py; they need PyTorch.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import sqlite3
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from option_cases import Cases, Check, options_of
from train_options import train

import transcode
from transcode.cli import main

CASES = Cases(main)
done, case = CASES.done, CASES.of
train(CASES)
SPACE = """
name: tiny
model: {base: encoder, layers: [2, 4], hidden: [128, 256], heads: [2, 4]}
accelerator: {base: systolic, rows: [16, 32, 64], dataflow: [ws, os], sram: [1 MB, 4 MB]}
workload: {task: sst2}
objectives: {accuracy: max, latency_s: min, energy_j: min}
record: [area_mm2]
"""
#: More designs than are looked at.
LARGE = SPACE.replace("[2, 4], hidden", "[1, 2, 3, 4, 5, 6], hidden").replace("tiny", "large")
RANDOM = ("search", "tiny.yaml", "--quiet", "--sampler", "random", "--budget")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The space `tiny` enumerated, shared by those who only ask."""
    folder = tmp_path_factory.mktemp("options")
    (folder / "tiny.yaml").write_text(SPACE)
    done("search", folder / "tiny.yaml", "--out", folder / "run", "--quiet", "--jobs", "1")
    return folder / "run"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SPACE)
    (tmp_path / "large.yaml").write_text(LARGE)
    (tmp_path / "run").symlink_to(finished)


def told(run: str) -> dict[str, Any]:
    """The manifest of a run."""
    manifest: dict[str, Any] = json.loads((Path(run) / "manifest.json").read_text())
    return manifest


def designs(run: str) -> pd.DataFrame:
    return pd.read_parquet(Path(run) / "designs").sort_values("id", ignore_index=True)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@case("", "--version")
def _version(folder: Path) -> None:
    assert transcode.__version__ in done("--version").stdout


# ---- search


@case("search", "--sampler")
def _sampler(folder: Path) -> None:
    for name in ("enumerate", "random", "qmc"):
        done(*RANDOM[:3], "--sampler", name, "--budget", 8, "--out", name)
        assert told(name)["sampler"]["used"] == name
    done(*RANDOM[:3], "--sampler", "module:Class", code=2)


@case("search", "--budget")
def _budget(folder: Path) -> None:
    """Designs of earlier sessions are included."""
    for budget in (8, 20):
        done(*RANDOM, budget)
        assert told("results/tiny")["designs"] == budget


@case("search", "--time")
def _time(folder: Path) -> None:
    many = SPACE.replace("sram: [1 MB, 4 MB]", "sram: {low: 1 MB, high: 4 MB, steps: 50000}")
    (folder / "many.yaml").write_text(many)
    words = ("search", "many.yaml", "--quiet", "--sampler", "random", "--out", "short", "--time")
    done(*words, "1 ms", "--budget", 10**6, "--jobs", 1, "--batch", 16)
    manifest = told("short")
    assert manifest["designs"] < 10**6 and "time" in manifest["status"]
    done(*words, "soon", code=2)


@case("search", "--seed")
def _seed(folder: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done(*RANDOM, 12, "--seed", seed, "--out", name)
    first, same, other = (Path(name, "front.csv").read_bytes() for name in "abc")
    assert first == same != other


@case("search", "--out")
def _out(folder: Path) -> None:
    done(*RANDOM, 5, "--out", "deep/er")
    assert told("deep/er")["designs"] == 5 and not Path("results").exists()


@case("search", "--fresh")
def _fresh(folder: Path) -> None:
    done(*RANDOM, 12, "--seed", 1)
    done(*RANDOM, 12, "--seed", 2, code=2)
    done(*RANDOM, 5, "--seed", 2, "--fresh")
    manifest = told("results/tiny")
    assert (manifest["designs"], manifest["seed"]) == (5, 2)


@case("search", "--jobs")
def _jobs(folder: Path) -> None:
    """Two processes find the front of one."""
    done("search", "tiny.yaml", "--quiet", "--jobs", 2)
    assert Path("results/tiny/front.csv").read_bytes() == Path("run/front.csv").read_bytes()


@case("search", "--islands")
def _islands(folder: Path) -> None:
    """Part of what a run is: another number is another run."""
    words = ("search", "large.yaml", "--quiet", "--sampler", "evolve", "--budget", 20, "--islands")
    done(*words, 2, "--out", "two")
    assert told("two")["islands"] == 2
    assert "islands: 2 there, 3 asked for" in done(*words, 3, "--out", "two", code=2).stderr
    assert "--islands" in done(*RANDOM, 5, "--islands", 2, code=2).stderr


@case("search", "--batch")
def _batch(folder: Path) -> None:
    lines = {}
    for size in (4, 12):
        said = done(*RANDOM[:2], *RANDOM[3:], 12, "--batch", size, "--out", f"b{size}").stderr
        lines[size] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        assert told(f"b{size}")["batch"] == size
    assert lines[12][-1]["designs"] == lines[4][-1]["designs"] == 12


@case("search", "--warm-start")
def _warm(folder: Path) -> None:
    words = ("search", "tiny.yaml", "--quiet", "--sampler", "evolve", "--budget", 8, "--batch", 8)
    done(*words, "--warm-start", "run/front.csv", "--out", "warm")
    settings = [n for n in designs("warm") if n.startswith(("model.", "accelerator."))]
    begun = set(map(tuple, designs("warm")[settings].astype(str).values))
    front = pd.merge(pd.read_csv("run/front.csv")[["id"]], designs("run"), on="id")
    assert begun == set(map(tuple, front[settings].astype(str).values))
    assert "random cannot begin" in done(*RANDOM, 5, "--warm-start", "run/front.csv", code=2).stderr


@case("search", "--storage")
def _storage(folder: Path) -> None:
    """Two searches, each with an --out of its own, share the study in the database."""
    words = ("search", "tiny.yaml", "--quiet", "--sampler", "tpe", "--budget")
    done(*words, 3, "--storage", "sqlite:///study.db", "--out", "a")
    done(*words, 6, "--storage", "sqlite:///study.db", "--out", "b")
    with sqlite3.connect("study.db") as base:
        (trials,) = base.execute("select count(*) from trials").fetchone()
        (studies,) = base.execute("select count(*) from studies").fetchone()
    assert studies == 1 and trials >= 6 and told("a")["designs"] == 3


@case("search", "--cluster", extras=("distributed",))
def _cluster(folder: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(1, threads_per_worker=1, processes=False, dashboard_address=None) as one:
        with LocalCluster(
            1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None
        ) as there:
            done("search", "tiny.yaml", "--quiet", "--cluster", there.scheduler_address)
        assert one.scheduler_address
    assert Path("results/tiny/front.csv").read_bytes() == Path("run/front.csv").read_bytes()


STALLING = ("search", "large.yaml", "--quiet", "--sampler", "enumerate", "--batch", 8, "--fresh")


@case("search", "--stall")
def _stall(folder: Path) -> None:
    """A share that no batch gains ends the search; without one every design is looked at."""
    done(*STALLING, "--stall", 0.999, "--stall-batches", 2)
    stalled = told("results/large")
    done(*STALLING)
    assert stalled["designs"] < told("results/large")["designs"] == 288


@case("search", "--stall-batches")
def _stall_batches(folder: Path) -> None:
    counts = []
    for batches in (1, 5):
        done(*STALLING, "--stall", 0.999, "--stall-batches", batches)
        counts.append(told("results/large")["designs"])
    assert counts[0] < counts[1]
    assert "--stall" in done(*RANDOM, 5, "--stall-batches", 3, code=2).stderr


@case("search", "--format")
def _search_format(folder: Path) -> None:
    for form in ("json", "csv"):
        said = done(*RANDOM, 8, "--fresh", "--format", form).stdout
        assert said == Path(f"results/tiny/front.{form}").read_text()
    assert "nothing beats" in done(*RANDOM, 8, "--fresh").stdout


@case("search", "--report")
def _search_report(folder: Path) -> None:
    page = Path("results/tiny/report.html")
    done(*RANDOM, 8)
    assert not page.exists()
    assert str(page) in done(*RANDOM, 8, "--report").stderr
    assert page.read_text().startswith("<!doctype html>")


@case("search", "--quiet")
def _quiet(folder: Path) -> None:
    assert done(*RANDOM, 5).stderr == ""
    assert '"event": "finished"' in done(*RANDOM[:2], *RANDOM[3:], 8).stderr


# ---- front


@case("front", "--format")
def _front_format(folder: Path) -> None:
    for form in ("json", "csv"):
        assert (
            done("front", "run", "--format", form).stdout == Path(f"run/front.{form}").read_text()
        )
    assert "nothing beats" in done("front", "run").stdout


def asked(*words: object) -> pd.DataFrame:
    """The recorded designs that another front has."""
    rows = rows_of(done("front", "run", *words, "--format", "csv").stdout)
    return designs("run").set_index("id").loc[[int(row["id"]) for row in rows]]


@case("front", "--where")
def _where(folder: Path) -> None:
    chosen = asked("--where", "accelerator.rows <= 16", "--where", "model.layers == 4")
    assert len(chosen) and set(chosen["accelerator.rows"].astype(int)) == {16}
    assert set(chosen["model.layers"].astype(int)) == {4}
    done("front", "run", "--where", "accelerator.rows > 1000", code=3)


@case("front", "--objectives")
def _objectives(folder: Path) -> None:
    chosen, every = asked("--objectives", "area_mm2:min"), designs("run")
    assert set(chosen["area_mm2"]) == {every["area_mm2"].min()}
    chosen = asked("--objectives", "area_mm2:max")
    assert set(chosen["area_mm2"]) == {every["area_mm2"].max()}


@case("front", "--weights")
def _weights(folder: Path) -> None:
    every = designs("run")
    best = asked("--weights", "accuracy=0.9,latency_s=0.1")
    assert len(best) == 1
    front = asked("--objectives", "accuracy,latency_s")
    sums = 0.9 * every["accuracy"] / 100.0  # points of an accuracy; the largest on the front
    sums += 0.1 * (1 - every["latency_s"] / front["latency_s"].max())
    assert best["accuracy"].item() == every["accuracy"][sums.idxmax()]
    assert best["latency_s"].item() == every["latency_s"][sums.idxmax()]


@case("search", "--uncertainty", "--samples")
def _uncertainty(folder: Path) -> None:
    draws = ("--uncertainty", "--samples", 20)
    done("search", "tiny.yaml", "--quiet", "--jobs", 1, "--out", "sure", *draws)
    rows = rows_of(Path("sure/front.csv").read_text())
    assert float(rows[0]["energy_j_low"]) < float(rows[0]["energy_j"])
    assert json.loads(Path("sure/front.json").read_text())["uncertainty"]["samples"] == 20
    done("search", "tiny.yaml", "--out", "other", "--samples", 20, code=2)


@case("front", "--uncertainty", "--samples", "--seed")
def _front_uncertainty(folder: Path) -> None:
    draws = ("front", "run", "--uncertainty", "--samples", 20, "--format", "csv", "--seed")
    one, again, other = (rows_of(done(*draws, seed).stdout) for seed in (0, 0, 1))
    assert one == again != other and "energy_j_low" in one[0]
    done("front", "run", "--samples", 20, code=2)


# ---- check, merge, plot


@case("check", "--require")
def _require(folder: Path) -> None:
    least = designs("run")["latency_s"].min()
    done("check", "run", "--require", f"latency_s <= {least * 1.01}")
    bad = ("--require", f"latency_s <= {least * 0.99}")
    done("check", "run", *bad, code=4)
    done("check", "run", "--require", "designs == 96", *bad, code=4)
    done("check", "run", code=2)


@case("check", "--baseline")
def _baseline(folder: Path) -> None:
    words = ("check", "run", "--require", "hypervolume >= 0.999 * baseline", "--baseline")
    volume = told("run")["hypervolume"]
    for agreed in ("run", "run/front.json", volume):
        done(*words, agreed)
    done(*words, 2 * volume, code=4)
    done("check", "run", "--require", "designs > 1", "--baseline", "run", code=2)


@case("check", "--junit")
def _check_junit(folder: Path) -> None:
    words = ("check", "run", "--require", "designs > 1", "--require", "designs > 1000")
    done(*words, "--junit", "check.xml", code=4)
    suite = ElementTree.parse("check.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


def formats(*words: object) -> Check:
    """JSON and CSV hold rows of the same names; the table is what comes without a word."""

    def check(folder: Path) -> None:
        tree = json.loads(done(*words, "--format", "json").stdout)
        row = tree[0] if isinstance(tree, list) else tree
        rows = rows_of(done(*words, "--format", "csv").stdout)
        assert set(rows[0]) == set(row) - {"commands"}
        table = done(*words).stdout
        assert table == done(*words, "--format", "table").stdout and not table.startswith("{")

    return check


CASES.add("check", ("--format",), formats("check", "run", "--require", "designs > 1"))
CASES.add("show", ("--format",), formats("show", "run", 3))
CASES.add("compare", ("--format",), formats("compare", "run", "run"))


def two_seeds() -> None:
    for seed in (1, 2):
        done(*RANDOM, 6, "--seed", seed, "--out", f"s{seed}")


@case("merge", "--out")
def _merge_out(folder: Path) -> None:
    two_seeds()
    done("merge", "s1", "s2", "--out", "all")
    assert 6 < told("all")["designs"] <= 12
    done("merge", "s1", "s2", "--out", "all", code=2)


@case("merge", "--format")
def _merge_format(folder: Path) -> None:
    two_seeds()
    said = done("merge", "s1", "s2", "--out", "all", "--format", "json").stdout
    assert said == Path("all/front.json").read_text()


@case("plot", "--out")
def _plot_out(folder: Path) -> None:
    for name, start in (("f.png", b"\x89PNG"), ("f.pdf", b"%PDF"), ("f.svg", b"<?xml")):
        assert done("plot", "run", "--out", name).stdout.strip() == name
        assert Path(name).read_bytes().startswith(start)


@case("plot", "--where")
def _plot_where(folder: Path) -> None:
    done("plot", "run", "--out", "all.svg")
    done("plot", "run", "--out", "few.svg", "--where", "accelerator.rows <= 16")
    assert "accelerator.rows" in Path("few.svg").read_text()  # the caption says what was asked
    assert Path("few.svg").read_text() != Path("all.svg").read_text()


@case("plot", "--objectives")
def _plot_objectives(folder: Path) -> None:
    done("plot", "run", "--out", "area.svg", "--objectives", "accuracy,area_mm2")
    assert "area" in Path("area.svg").read_text()
    assert "latency" not in Path("area.svg").read_text()


# ---- report, show, compare, serve


@case("report", "--out")
def _page(folder: Path) -> None:
    assert done("report", "run", "--out", "page.html").stdout.strip() == "page.html"
    assert Path("page.html").read_text().startswith("<!doctype html>")


@case("report", "--baseline")
def _page_baseline(folder: Path) -> None:
    for baseline in ("3", "run/front.csv"):
        done("report", "run", "--out", "page.html", "--baseline", baseline)
        assert "Red cross: the baseline." in Path("page.html").read_text()
    done("report", "run", "--out", "page.html")
    assert "Red cross: the baseline." not in Path("page.html").read_text()


@case("show", "--yaml")
def _show_yaml(folder: Path) -> None:
    Path("one.yaml").write_text(done("show", "run", 3, "--yaml").stdout)
    assert yaml.safe_load(Path("one.yaml").read_text())["objectives"]
    done("search", "one.yaml", "--quiet", "--out", "one")
    (again,) = designs("one")["energy_j"]
    assert again == designs("run").set_index("id")["energy_j"][3]
    done("show", "run", 3, "--yaml", "--format", "json", code=2)


@case("compare", "--out")
def _compare_out(folder: Path) -> None:
    done("compare", "run", "run", "--out", "both.png")
    assert Path("both.png").read_bytes().startswith(b"\x89PNG")


@case("compare", "--reference-point")
def _reference(folder: Path) -> None:
    point = ("--reference-point", "accuracy=0,latency_s=1s,energy_j=1J")
    usual, wide = (
        json.loads(done("compare", "run", "run", *words, "--format", "json").stdout)[0]
        for words in ((), point)
    )
    assert usual["hypervolume"] == told("run")["hypervolume"] < wide["hypervolume"]


def tools(*words: str) -> set[str]:
    """What a client is offered by a server of its own."""
    from mcp import Client, StdioServerParameters

    async def ask() -> set[str]:
        command = ["-m", "transcode", "serve", *words]
        async with Client(StdioServerParameters(command=sys.executable, args=command)) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    return asyncio.run(ask())


@case("serve", "--mcp", extras=("mcp",))
def _mcp(folder: Path) -> None:
    assert {"simulate", "explain"} <= tools("--mcp")
    assert "--mcp" in done("serve", code=2).stderr


@case("serve", "--folder", extras=("mcp",))
def _serve_folder(folder: Path) -> None:
    assert {"search", "front"} <= tools("--mcp", "--folder", "agent") - tools("--mcp")


# ---- all of them


def test_every_option_has_a_case() -> None:
    assert set(CASES.known) == options_of(main)


@pytest.mark.parametrize("check", list(CASES.parameters()))
def test_an_option_does_what_it_says(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


def test_what_a_search_says_folds_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe a sentence is one line, which a script can find."""
    from rich.console import Console

    from transcode.cli import report

    piped = done("front", "run").stdout
    assert re.search(r"^96 designs evaluated, .*\)$", piped, re.M)
    terminal = Console(width=80, color_system=None, force_terminal=True)
    monkeypatch.setattr(report, "console_of_stdout", lambda: terminal)
    said = done("front", "run").stdout
    about = said[said.index("the same in all") :]
    assert max(map(len, about.splitlines())) <= 80
    assert re.search(r"^  stands for: ", about, re.M)


def test_a_verdict_is_seen_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentences fold; the columns between them keep their width."""
    from rich.console import Console

    from transcode.cli import report

    monkeypatch.setattr(report, "console_of_stdout", lambda: Console(width=80, color_system=None))
    long = "latency_s <= 1 and energy_j <= 1 and accuracy > 80 and model.layers == 4"
    said = done("check", "run", "--require", long, "--require", "designs > 1000", code=4).stdout
    assert {"yes", "no"} <= set(said.split()) and max(map(len, said.splitlines())) <= 80
    assert " ".join(said.split()).count("model.layers 4") == 1
