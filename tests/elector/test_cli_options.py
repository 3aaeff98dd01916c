"""Every option of every command of `elector` does what its help says."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from design_options import CASES, FIVE, PAIR, done, loaded, prepare
from exported import archive
from option_cases import Check, options_of

import elector
from elector.cli.commands import main
from elector.cost.results import registry

ROOT = Path(__file__).resolve().parents[2]
case = CASES.of


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# ---- how a result is printed


def formats(*words: str) -> Check:
    """JSON and CSV hold the same, and the table is something else."""

    def check(folder: Path) -> None:
        outputs = {form: done(*words, "--format", form).stdout for form in ("table", "json", "csv")}
        assert outputs["table"] == done(*words).stdout
        tree = json.loads(outputs["json"])
        rows = rows_of(outputs["csv"])
        assert rows and (len(rows) == len(tree) if isinstance(tree, list) else True)
        texts = {cell for row in rows for cell in row.values()}
        shared = [leaf for leaf in leaves(tree) if str(leaf) in texts]
        assert len(shared) >= min(3, len(list(leaves(tree))))
        assert not outputs["table"].startswith(("{", "[", next(iter(rows[0])) + ","))

    return check


def leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list):
        for entry in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(entry)
    elif tree is not None:
        yield tree


PLAN = """model: bert-tiny
workload: {batch: 4}
phases:
  - {steps: 100, accelerator: systolic}
"""
CASES.add("simulate", ("--format",), formats("simulate", *PAIR))
CASES.add("explain", ("--format",), formats("explain", *PAIR))
CASES.add("compare", ("--format",), formats("compare", *PAIR, "tpu-v1"))
CASES.add("list", ("--format",), formats("list", "accelerators"))
CASES.add("show", ("--format",), formats("show", "tpu-v4i"))
CASES.add("validate", ("--format",), formats("validate", "--only", "tpu"))
CASES.add("run", ("--format",), formats("run", "plan.yaml"))


@case("", "--version")
def _version(folder: Path) -> None:
    assert elector.__version__ in done("--version").stdout


# ---- simulate, explain, show, list, trace, report, run


@case("simulate", "--operations")
def _operations(folder: Path) -> None:
    result = loaded("simulate", *PAIR, "--operations")
    leakage = result["energy_by_part_j"]["leakage"]
    joules = sum(op["joules"] for op in result["operations"])
    assert joules + leakage == pytest.approx(result["energy_j"])
    assert "operations" not in loaded("simulate", *PAIR)


@case("simulate", "--uncertainty")
def _uncertainty(folder: Path) -> None:
    result = loaded("simulate", *PAIR, "--uncertainty", "--samples", "40")
    for name in ("latency_s", "energy_j"):
        assert result[f"{name}_low"] < result[name] < result[f"{name}_high"]
    assert "energy_j_low" not in loaded("simulate", *PAIR)


@case("simulate", "--samples")
def _samples(folder: Path) -> None:
    few, more, again = (
        loaded("simulate", *PAIR, "--uncertainty", "--samples", n)["energy_j_low"]
        for n in (20, 60, 60)
    )
    assert few != more == again
    done("simulate", *PAIR, "--uncertainty", "--samples", "19", code=2)


@case("simulate", "--seed")
def _seed(folder: Path) -> None:
    one, other = (
        loaded("simulate", *PAIR, "--uncertainty", "--samples", "20", "--seed", n)["energy_j_low"]
        for n in ("0", "1")
    )
    assert one != other
    done("simulate", *PAIR, "--uncertainty", "--seed", "-1", code=2)


@case("explain", "--result")
def _result(folder: Path) -> None:
    names = re.findall(r"[a-z0-9_]+", option("explain", "--result").help.partition(": ")[2])
    for name in (name for name in names if name != "or"):
        explained = loaded("explain", *PAIR, "--result", name)
        # the sum of its terms, which may differ in the last bit
        wanted = pytest.approx(loaded("simulate", *PAIR)[name], rel=1e-12)
        assert (explained["result"], explained["value"]) == (name, wanted)


@case("show", "--yaml")
def _yaml(folder: Path) -> None:
    Path("own.yaml").write_text(done("show", "tpu-v4i", "--yaml").stdout)
    own, shipped = (loaded("simulate", "bert-tiny", name) for name in ("own.yaml", "tpu-v4i"))
    assert own["energy_j"] == shipped["energy_j"]


@case("list", "--technology")
def _constants(folder: Path) -> None:
    words = ("list", "technologies")
    own = [row for row in loaded(*words, "--technology", "mine.csv") if row["source"] == "mine"]
    assert [row["id"] for row in own] == ["dram.hbm2:energy"] and "100 pJ/bit" in own[0]["value"]
    assert not [row for row in loaded(*words) if row["source"] == "mine"]


@case("trace", "--out")
def _trace_out(folder: Path) -> None:
    said = done("trace", *PAIR, "--out", "trace.json").stdout
    events = json.loads(Path("trace.json").read_text())["traceEvents"]
    last = max(event["ts"] + event["dur"] for event in events if event["ph"] == "X")
    assert re.search(rf"^event-driven +{registry().show('latency_s', last * 1e-6)}$", said, re.M)
    for name in ("trace.png", "trace.csv"):  # JSON is not written under the name of another kind
        said = done("trace", *PAIR, "--out", name, code=2).stderr
        assert f"{name}: --out: unknown kind of file" in said and ".json, no suffix" in said
        assert not Path(name).exists()


@case("trace", "--plot")
def _trace_plot(folder: Path) -> None:
    done("trace", *PAIR, "--out", "trace.json")
    assert [path.name for path in folder.glob("*.png")] == []
    done("trace", *PAIR, "--out", "trace.json", "--plot", "trace.png")
    assert Path("trace.png").read_bytes().startswith(b"\x89PNG")


@case("report", "--out")
def _page(folder: Path) -> None:
    assert done("report", *PAIR, "--out", "page.html").stdout.strip() == "page.html"
    assert Path("page.html").read_text().startswith("<!doctype html>")
    done("report", *PAIR, code=2)


@case("report", "--uncertainty", "--samples", "--seed")
def _page_intervals(folder: Path) -> None:
    def shown(*words: str) -> list[str]:
        done("report", *PAIR, *words, "--out", "page.html")
        row = re.search(r">latency</th>(.*?)</tr>", Path("page.html").read_text())
        assert row is not None
        return re.findall(r"<td>(.*?)</td>", row[1])

    assert len(shown()) == 1
    tables = {words: shown("--uncertainty", *words) for words in DRAWS}
    assert all(len(cells) == 3 for cells in tables.values())
    assert len({tuple(cells) for cells in tables.values()}) == len(DRAWS)
    done("report", *PAIR, "--uncertainty", "--samples", "19", "--out", "page.html", code=2)


DRAWS = ((), ("--samples", "20"), ("--samples", "20", "--seed", "7"))


@case("run", "--technology")
def _plan_prices(folder: Path) -> None:
    shipped = loaded("run", "plan.yaml")
    own = loaded("run", "plan.yaml", "--technology", "mine.csv")
    assert own["total"]["energy_j"] > shipped["total"]["energy_j"]
    assert own["total"]["latency_s"] == shipped["total"]["latency_s"]


# ---- sweep, compare


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    (tmp_path / "plan.yaml").write_text(PLAN)
    table = "model,accelerator,workload.batch\nbert-tiny,systolic,1\nbert-tiny,systolic,{}\n"
    (tmp_path / "table.csv").write_text(table.format(2))
    (tmp_path / "torn.csv").write_text(table.format("many"))


@case("sweep", "--out")
def _sweep_out(folder: Path) -> None:
    for name in ("costs.csv", "costs.json", "costs.parquet"):
        assert done("sweep", "table.csv", "--out", name).stdout == ""
    rows = rows_of(Path("costs.csv").read_text())
    assert [float(row["energy_j"]) for row in rows] == [
        row["energy_j"] for row in json.loads(Path("costs.json").read_text())
    ]
    assert list(pd.read_parquet("costs.parquet")["energy_j"]) == [
        float(row["energy_j"]) for row in rows
    ]
    assert done("sweep", "table.csv", "--out", "-").stdout == Path("costs.csv").read_text()


@case("sweep", "--format")
def _sweep_format(folder: Path) -> None:
    swept = loaded("sweep", "table.csv")
    single = loaded("simulate", *PAIR, "--batch", "2")
    assert swept[1]["energy_j"] == single["energy_j"]
    rows = rows_of(done("sweep", "table.csv", "--format", "csv").stdout)
    assert [float(row["energy_j"]) for row in rows] == [row["energy_j"] for row in swept]
    table = done("sweep", "table.csv", "--format", "table").stdout
    assert registry().show("latency_s", single["latency_s"]) in table


@case("sweep", "--junit")
def _sweep_junit(folder: Path) -> None:
    done("sweep", "torn.csv", "--out", "costs.csv", "--junit", "check.xml", code=4)
    suite = ElementTree.parse("check.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


@case("sweep", "--uncertainty", "--samples", "--seed")
def _sweep_uncertainty(folder: Path) -> None:
    draws = ("--uncertainty", "--samples", "20", "--seed", "3")
    row = loaded("sweep", "table.csv", *draws)[1]
    single = loaded("simulate", *PAIR, "--batch", "2", *draws)
    for name in ("energy_j_low", "latency_s_high"):
        assert row[name] == single[name]
    assert "energy_j_low" not in loaded("sweep", "table.csv")[1]


@case("sweep", "--settings")
def _sweep_settings(folder: Path) -> None:
    plain = rows_of(done("sweep", "table.csv", "--format", "csv").stdout)[0]
    row = rows_of(done("sweep", "table.csv", "--format", "csv", "--settings").stdout)[0]
    assert plain.items() <= row.items()
    more = {key for key in row if key not in plain}
    assert any("accelerator.rows" in key for key in more), more


@case("sweep", "--technology")
def _sweep_prices(folder: Path) -> None:
    words = ("sweep", "table.csv")
    for own, shipped in zip(
        loaded(*words, "--technology", "mine.csv"), loaded(*words), strict=True
    ):
        assert own["energy_j"] > shipped["energy_j"] and own["latency_s"] == shipped["latency_s"]


def worse(share: float) -> None:
    """Two tables of costs: in now.csv, energy is worse by a share."""
    done("sweep", "table.csv", "--out", "agreed.csv")
    rows = rows_of(Path("agreed.csv").read_text())
    for row in rows:
        row["energy_j"] = repr(float(row["energy_j"]) * (1 + share))
    with open("now.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@case("compare", "--tolerance")
def _tolerance(folder: Path) -> None:
    worse(0.01)
    done("compare", "agreed.csv", "now.csv", code=4)
    done("compare", "agreed.csv", "now.csv", "--tolerance", "0.5%", code=4)
    done("compare", "agreed.csv", "now.csv", "--tolerance", "2%")


@case("compare", "--metric")
def _metric(folder: Path) -> None:
    worse(0.01)
    done("compare", "agreed.csv", "now.csv", "--metric", "latency_s")
    done(
        "compare", "agreed.csv", "now.csv", "--metric", "latency_s", "--metric", "energy_j", code=4
    )
    entry = loaded("compare", *PAIR, "tpu-v1", "--metric", "power_w")[0]
    assert entry["values"] == {"power_w": loaded("simulate", *PAIR)["power_w"]}


@case("compare", "--key")
def _compare_key(folder: Path) -> None:
    """Rows whose settings moved are the same row by their own name."""
    for name, batch in (("old", 1), ("new", 2)):
        header = "model,accelerator,workload.batch,note.id\n"
        rows = f"bert-tiny,systolic,{batch},a\nbert-tiny,systolic,{batch},b\n"
        Path("designs.csv").write_text(header + rows)
        done("sweep", "designs.csv", "--out", f"{name}.csv")
    plain = done("compare", "old.csv", "new.csv", "--format", "json", code=4).stdout
    verdicts = [entry["verdict"] for entry in json.loads(plain)]
    assert verdicts == ["missing"] * 2 + ["new"] * 2
    said = done("compare", "old.csv", "new.csv", "--key", "note.id", "--format", "json", code=4)
    moved = json.loads(said.stdout)
    assert {(e["design"], e["metric"], e["verdict"]) for e in moved} == {
        (f"bert-tiny on systolic, note.id {name}", metric, "worse")
        for name in "ab"
        for metric in ("latency_s", "energy_j")
    }


@case("compare", "--set-for")
def _compare_own_settings(folder: Path) -> None:
    """Settings of one machine, by name and by place; the same machine may stand there twice."""
    own = ("--set-for", "1", "workload.batch=4", "--set-for", "tpu-v1", "workload.batch=8")
    words = ("compare", *PAIR, PAIR[1], "tpu-v1", *own, "--batch", "2")
    for entry, batch in zip(loaded(*words), (4, 2, 8), strict=True):
        alone = loaded("simulate", PAIR[0], entry["accelerator"], "--batch", str(batch))
        assert entry["values"]["latency_s"] == alone["latency_s"]
    assert [entry["label"] for entry in loaded(*words)] == [
        f"{PAIR[1]} (batch 4)",
        PAIR[1],
        "tpu-v1 (batch 8)",
    ]
    for bad in (("9", "workload.batch=1"), ("1", "batch=1"), ("1", "workload.batch")):
        assert "--set-for" in done("compare", *PAIR, "tpu-v1", "--set-for", *bad, code=2).stderr
    twice = ("--set-for", "tpu-v1", "workload.batch=1", "--set-for", "2", "workload.batch=2")
    assert "twice" in done("compare", *PAIR, "tpu-v1", *twice, code=2).stderr


@case("compare", "--uncertainty", "--samples", "--seed")
def _compare_uncertainty(folder: Path) -> None:
    draws = ("--uncertainty", "--samples", "50", "--seed", "3")
    first, second = loaded("compare", *PAIR, "tpu-v1", *draws)
    for entry in (first, second):
        alone = loaded("simulate", PAIR[0], entry["accelerator"], *draws)
        ends = [alone["area_mm2_low"], alone["area_mm2_high"]]
        assert entry["intervals"]["area_mm2"] == pytest.approx(ends)
    low, high = second["ratio_intervals"]["latency_s"]
    assert low < second["ratios"]["latency_s"] < high
    assert first["ratio_intervals"]["latency_s"] is None
    assert second["told_apart"]["latency_s"] is not (low <= 1 <= high)
    shown = done("compare", *PAIR, "tpu-v1", *draws).stdout
    assert "the ratio between" in shown and "told apart" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "intervals" not in loaded("compare", *PAIR, "tpu-v1")[0]


@case("compare", "--junit")
def _compare_junit(folder: Path) -> None:
    worse(0.01)
    done("compare", "agreed.csv", "now.csv", "--junit", "check.xml", code=4)
    suite = ElementTree.parse("check.xml").getroot()
    assert int(suite.get("failures", "0")) == 2
    done("compare", *PAIR, "tpu-v1", "--junit", "other.xml", code=2)
    assert not Path("other.xml").exists()


# ---- import


@case("import", "--out")
def _import_out(folder: Path) -> None:
    path = archive(folder / "a.pt2")
    done("import", path, "--out", "model.yaml")
    assert loaded("simulate", "model.yaml", "systolic")["parameters"] == 2 * 8 * 16
    text = done("import", path, "--out", "-").stdout
    assert text == Path("model.yaml").read_text()


@case("import", "--symbol")
def _symbol(folder: Path) -> None:
    """A side that varies is fixed, and no longer follows the workload."""
    path = archive(folder / "a.pt2")
    done("import", path, "--out", "model.yaml")
    done("import", path, "--out", "fixed.yaml", "--symbol", "s1=32")
    words = ("systolic", "--sequence-length", "64")
    free, fixed = (
        loaded("simulate", name, *words)["macs"] for name in ("model.yaml", "fixed.yaml")
    )
    assert free == 2 * fixed == 64 * 2 * 8 * 16


@case("import", "--class", extras=("torch", "transformers"))
def _class(folder: Path) -> None:
    words = ("import", "config.json", "--out", "model.yaml", "--class")
    Path("config.json").write_text(
        Path("config.json").read_text().replace('"colour": "red"', '"a": 1')
    )
    masked = done(*words, "BertForMaskedLM").stdout
    plain = done(*words, "BertModel").stdout
    assert int(re.findall(r"\d+", masked)[0]) > int(re.findall(r"\d+", plain)[0])


# ---- validate


@case("validate", "--only", "--case")
def _only(folder: Path) -> None:
    for spelling in ("--only", "--case"):
        judged = loaded("validate", spelling, "tpu-v4i peak")
        assert judged and all("tpu-v4i peak" in f"{r['group']} {r['case']}" for r in judged)
    done("validate", "--only", "no such case", code=2)


@case("validate", "--data", "--cases")
def _data(folder: Path) -> None:
    shipped = (ROOT / "elector/data/published.csv").read_text(encoding="utf-8")
    row = next(row for row in rows_of(shipped) if row["metric"] == "peak_ops_per_s")
    for factor, code in ((1.0, 0), (10.0, 4)):
        with open("own.csv", "w", newline="") as stream:
            writer = csv.DictWriter(stream, list(row))
            writer.writeheader()
            writer.writerow(row | {"case": "mine", "value": factor * float(row["value"])})
        for spelling in ("--data", "--cases"):
            said = done("validate", spelling, "own.csv", code=code).stdout
            assert "mine" in said and "1 cases" in said


@case("validate", "--report")
def _validate_page(folder: Path) -> None:
    done("validate", "--only", "tpu", "--report", "page")
    assert any(path.suffix == ".html" for path in Path("page").iterdir())


@case("validate", "--junit")
def _validate_junit(folder: Path) -> None:
    judged = loaded("validate", "--only", "tpu", "--junit", "check.xml")
    names = {case.get("name") for case in ElementTree.parse("check.xml").getroot()}
    assert names == {r["group"] if r["kind"] == "outcome" else r["case"] for r in judged}


@case("validate", "--technology")
def _validate_prices(folder: Path) -> None:
    shipped, own = (
        loaded("validate", "--only", "tpu-v2", *more) for more in ((), ("--technology", "mine.csv"))
    )
    moved = [a["case"] for a, b in zip(own, shipped, strict=True) if a["error"] != b["error"]]
    assert moved


@case("list", "--weight")
def _weight(folder: Path) -> None:
    weights = loaded("list", "technologies", "--weight", "tpu-v4i")
    shares = [row["energy"] for row in weights["rows"]]
    assert weights["accelerator"] == "tpu-v4i" and shares[0] == max(shares)
    done("list", "models", "--weight", "tpu-v4i", code=2)


# ---- all of them


def option(command: str, spelling: str) -> Any:
    return next(o for o in main.commands[command].params if spelling in o.opts)


def test_every_option_has_a_case() -> None:
    assert set(CASES.known) == options_of(main)


@pytest.mark.parametrize("check", list(CASES.parameters()))
def test_an_option_does_what_it_says(check: Check, tmp_path: Path) -> None:
    check(tmp_path)


# ---- options that would change nothing


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", *PAIR, "--samples", "50"),
        ("simulate", *PAIR, "--seed", "1"),
        ("report", *PAIR, "--out", "p.html", "--samples", "50"),
        ("report", *PAIR, "--out", "p.html", "--seed", "1"),
        ("sweep", "table.csv", "--out", "-", "--samples", "50"),
        ("sweep", "table.csv", "--out", "-", "--seed", "1"),
        ("explain", "price", "sram", "--batch", "8"),
        ("explain", "price", "sram", "--result", "macs"),
        ("explain", "price", "sram", "--set", "workload.batch=8"),
        ("explain", "price", "sram", "--ignore-key", "colour"),
        ("list", "models", "--technology", "mine.csv"),
        ("show", "tpu-v4i", "--yaml", "--format", "json"),
        ("compare", "table.csv", "table.csv", "--batch", "8"),
        ("compare", "table.csv", "table.csv", "--technology", "mine.csv"),
        ("compare", "table.csv", "table.csv", "--node", "7"),
        ("compare", "table.csv", "table.csv", "--samples", "50"),
        ("compare", "table.csv", "table.csv", "--seed", "2"),
        ("compare", *PAIR, "tpu-v1", "--seed", "2"),
        ("compare", *PAIR, "tpu-v1", "--key", "note.id"),
        ("compare", *PAIR, "tpu-v1", "--tolerance", "2%"),
    ],
    ids=lambda words: " ".join(words),
)
def test_an_option_without_effect_is_refused_by_its_name(words: tuple[str, ...]) -> None:
    result = done(*words, code=2)
    assert words[-2] in result.stderr and result.stdout == ""


@pytest.mark.parametrize("command", list(FIVE))
def test_a_setting_without_effect_is_said(command: str) -> None:
    out = {"trace": ("--out", "t.json"), "report": ("--out", "p.html")}.get(command, ())
    pair = (*PAIR, "tpu-v1") if command == "compare" else PAIR
    said = done(command, *pair, "--optimizer", "sgd", *out).stderr.splitlines()
    assert [line for line in said if line.startswith("warning: workload.optimizer changes noth")]
    assert len(said) == 1


def test_a_note_of_one_accelerator_names_it() -> None:
    words = ("compare", "bert-tiny", "systolic", "a100-sxm-80gb", "--sparsity", "acceltran")
    assert "(on a100-sxm-80gb)" in done(*words).stderr


def test_a_phase_without_a_name_is_called_once() -> None:
    said = done("run", "plan.yaml").stdout
    assert re.search(r"^  phase 1 ", said, re.M) and "phase phase" not in said
