"""`transcode report`: a page that stands alone, tried in a headless browser."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import transcode
from elector.base.errors import InputError
from transcode.cli import main
from transcode.pages import insight
from transcode.pages.front import MOST, thinned

pytest.importorskip("bokeh", reason="needs bokeh, which is part of the base install")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the space bert, small, with its page and a baseline."""
    out = tmp_path_factory.mktemp("runs") / "bert"
    transcode.search("bert", out=out, budget=1500, sampler="random", batch=500)
    front = transcode.front(out)
    transcode.report(out, baseline=int(front["id"].iloc[-1]))
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> Path:
    return folder / "report.html"


def told_of(page: Path) -> dict[str, Any]:
    """What the script of a page is told."""
    text = page.read_text(encoding="utf-8")
    match = re.search(r'<script id="told" type="application/json">(.*?)</script>', text, re.S)
    assert match
    return json.loads(match[1])


def column(page: Path, name: str) -> np.ndarray:
    """An array of a page, unpacked as a browser does it."""
    text = page.read_text(encoding="utf-8")
    packed = re.search(r'<script id="packed" type="text/plain">(.*?)</script>', text, re.S)
    assert packed
    data = gzip.decompress(base64.b64decode(packed[1]))
    entry = told_of(page)["columns"][name]
    kinds = {"Float64Array": "f8", "Int32Array": "i4", "Uint16Array": "u2", "Uint8Array": "u1"}
    kind = kinds[entry["array"]]
    return np.frombuffer(data[entry["start"] : entry["start"] + entry["bytes"]], kind)


def test_a_page_holds_the_front_exactly(folder: Path, page: Path) -> None:
    front = transcode.front(folder)
    assert list(column(page, "id")) == list(front["id"])
    for name in ("accuracy", "serve.latency_s", "tune.energy_j", "area_mm2"):
        np.testing.assert_array_equal(column(page, f"raw:{name}"), front[name])


def test_shares_are_those_of_the_simulator(folder: Path, page: Path) -> None:
    import elector

    told, front = told_of(page), transcode.front(folder)
    best = front.iloc[3]
    command = CliRunner().invoke(main, ["show", str(folder), str(best["id"]), "--format", "json"])
    assert command.exit_code == 0
    settings = {
        k: v
        for k, v in json.loads(command.stdout).items()
        if k.startswith(("model.", "accelerator.", "workload.")) and k != "workload.task"
    }
    modes = {"serve": ("inference", 1), "tune": ("training", 32)}
    for workload, (mode, batch) in modes.items():
        own = settings | {"workload.mode": mode, "workload.batch": batch}
        single = elector.simulate("encoder", "systolic", settings=own)
        group = next(g for g in told["breakdowns"] if g["title"].startswith(f"{workload}: energy"))
        for part, name in zip(group["parts"], group["columns"], strict=True):
            share = column(page, name)[3] / 65535
            expected = single["energy_by_part_j"][part] / single["energy_j"]
            assert share == pytest.approx(expected, abs=2e-5)


def test_a_page_needs_no_network(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    plain = re.sub(r'<script class="library".*?</script>', "", text, flags=re.S)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", plain)
    assert len(text) < 5e6


def test_what_was_asked_stands_without_a_script(folder: Path, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for words in (
        "area_mm2 &lt;= 858",
        "transcode search",
        "leave-one-out MAE",
        "How to reproduce",
    ):
        assert words in text
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["space_sha256"] in text and f"{manifest['designs']:,}" in text


@pytest.mark.slow
@browser.NEEDED
def test_a_page_in_a_browser(page: Path, folder: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    with browser.opened(page) as driver:

        def count() -> str:
            return driver.find_element(By.ID, "count").text.split(" ")[0]

        size = len(transcode.front(folder))
        assert count() == f"{size:,}"
        design = driver.find_element(By.ID, "design")
        assert "knee" in design.text and "linear" in design.text
        panel = driver.find_elements(By.CSS_SELECTOR, "#panels .panel")
        assert len(panel) == 6  # pairs of four objectives
        # a brush chooses in every view
        move = ActionChains(driver)
        move.move_to_element_with_offset(panel[0], -100, -80).click_and_hold()
        move.move_by_offset(120, 100).release().perform()
        browser.wait(lambda: count() != f"{size:,}", "the brush")
        brushed = int(count().replace(",", ""))
        assert 0 < brushed < size
        script = "return [state.source.selected.indices.length, state.order.length]"
        assert driver.execute_script(script) == [brushed, brushed]
        lines = driver.execute_script("return state.lines.data.xs.length")
        assert lines == min(brushed, -(-brushed // -(-brushed // 1500)))
        driver.find_element(By.ID, "clear").click()
        browser.wait(lambda: count() == f"{size:,}", "all designs")
        # hover says which design it is, a click opens it
        point = driver.execute_script(
            "const v = Object.values(Bokeh.index.roots ?? [...Bokeh.index])[0];"
            "const x = told.axes[0].name, y = told.axes[1].name, f = v.model;"
            "const at = [state.source.data[x][5], state.source.data[y][5]];"
            "const r = v.el.getBoundingClientRect(), b = v.frame.bbox;"
            "return [r.x + b.left + v.frame.x_scale.compute(at[0]) - b.left,"
            "        r.y + b.top + v.frame.y_scale.compute(at[1]) - b.top]"
        )
        hover = ActionChains(driver)
        hover.w3c_actions.pointer_action.move_to_location(int(point[0]), int(point[1]))
        hover.perform()
        seen = "return state.source.inspected.indices.length"
        browser.wait(lambda: driver.execute_script(seen), "the hover")
        before = design.text
        ActionChains(driver).click().perform()
        browser.wait(lambda: design.text != before, "the clicked design")
        # filters, sorting, keyboard
        bound = driver.find_element(By.CSS_SELECTOR, "#filters input.bound")
        bound.send_keys("0.05")
        browser.wait(lambda: count() != f"{size:,}", "the filter")
        shortest = driver.execute_script(
            "return Math.min(...state.order.map(i => drawn(told.axes[0], i)))"
        )
        assert shortest >= 0.05
        bound.clear()
        browser.wait(lambda: count() == f"{size:,}", "all designs")
        headings = driver.find_elements(By.CSS_SELECTOR, "#rows th button")
        headings[1].send_keys(Keys.ENTER)
        values = driver.execute_script("return state.order.map(i => raw(told.axes[0], i))")
        assert values == sorted(values)
        headings[1].click()
        values = driver.execute_script("return state.order.map(i => raw(told.axes[0], i))")
        assert values == sorted(values, reverse=True)
        row = driver.find_element(By.CSS_SELECTOR, "#rows tbody tr")
        driver.execute_script("arguments[0].focus()", row)
        ActionChains(driver).send_keys(Keys.ARROW_DOWN).send_keys(Keys.ENTER).perform()
        chosen = driver.find_element(By.CSS_SELECTOR, "#rows tbody tr.chosen")
        assert f"Design {chosen.text.split()[0]}" in design.text
        # export: what the table shows
        driver.find_element(By.ID, "find").send_keys("ws")
        browser.wait(lambda: count() != f"{size:,}", "the words")
        kept = int(count().replace(",", ""))
        driver.find_element(By.ID, "csv").click()
        exported = page.parent / "bert.csv"
        browser.wait(exported.exists, "the export")
        browser.wait(lambda: exported.stat().st_size, "the export")
        with exported.open() as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == kept and {r["accelerator.dataflow"] for r in rows} == {"ws"}
        front = transcode.front(folder).set_index("id")
        for r in rows[:20]:
            assert float(r["serve.latency_s"]) == front.loc[int(r["id"]), "serve.latency_s"]
        assert browser.errors(driver) == [] and browser.requested(driver) == []


@pytest.mark.slow
@browser.NEEDED
@pytest.mark.parametrize("width", [1280, 700, 390])
def test_labels_of_many_axes_stand_beside_one_another(width: int, tmp_path: Path) -> None:
    """Flat, each line within the room of its axis; else upright, two lines within it."""
    transcode.search("llm", out=tmp_path / "run", budget=120)
    measured = """
        const pen = document.createElement("canvas").getContext("2d");
        pen.font = `${LABEL} Helvetica, Arial, sans-serif`;
        return state.labels.texts.map(text =>
            text.split("\\n").map(line => pen.measureText(line).width));"""
    with browser.opened(transcode.report(tmp_path / "run"), width, 900) as driver:
        labels = driver.execute_script("return state.labels")
        lines = driver.execute_script(measured)
        assert len(lines) == driver.execute_script("return state.rails.length") >= 9
        if labels["flat"]:
            assert max(max(own) for own in lines) <= labels["room"]
        else:
            assert {len(own) for own in lines} == {2} and labels["room"] >= 2 * 13
        assert labels["flat"] is (width == 1280)
        wide, there = driver.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= there and browser.errors(driver) == []


@pytest.mark.slow
@browser.NEEDED
def test_a_page_on_a_phone(page: Path) -> None:
    with browser.opened(page, 390, 800) as driver:
        script = (
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        wide, there = driver.execute_script(script)
        assert wide <= there
        assert browser.errors(driver) == []


@pytest.mark.slow
@browser.NEEDED
@pytest.mark.parametrize("objectives", ["{latency_s: min}", "{latency_s: min, energy_j: min}"])
def test_small_fronts_have_pages(tmp_path: Path, objectives: str) -> None:
    space = tmp_path / "one.yaml"
    space.write_text(
        "model: bert-tiny\naccelerator: {base: systolic, rows: [16, 32], cols: [16, 32]}\n"
        f"objectives: {objectives}\n"
    )
    transcode.search(space, out=tmp_path / "run")
    with browser.opened(transcode.report(tmp_path / "run")) as driver:
        assert browser.errors(driver) == []


# ---- the command, the baseline


def test_the_command_says_where_the_page_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.html"
    result = CliRunner().invoke(main, ["report", str(folder), "--out", str(out)])
    assert result.exit_code == 0 and result.stdout.strip() == str(out)
    assert "None was given" in out.read_text()
    bad = CliRunner().invoke(main, ["report", str(folder), "--out", str(tmp_path / "x.pdf")])
    assert bad.exit_code == 2 and ".html" in bad.stderr
    assert CliRunner().invoke(main, ["report", str(tmp_path)]).exit_code == 2


def test_a_baseline_is_a_design_or_a_table(folder: Path, tmp_path: Path) -> None:
    from transcode.pages import read_baseline

    front = transcode.front(folder)
    own = read_baseline(folder, int(front["id"].iloc[2]))
    assert own.values["serve.latency_s"] == front["serve.latency_s"].iloc[2]
    table = tmp_path / "other.csv"
    front.iloc[2:4].to_csv(table, index=False)
    assert read_baseline(folder, table).values == own.values
    bare = tmp_path / "bare.csv"
    bare.write_text("model,accelerator,latency_s,energy_j,area_mm2\nbert-base,tpu-v4i,1e-3,1,400\n")
    assert read_baseline(folder, bare).values == {
        "serve.latency_s": 1e-3,
        "tune.energy_j": 1.0,
        "area_mm2": 400.0,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,latency_s\na,1\n", "column is missing"),
        ("latency_s,energy_j,area_mm2\n", "no rows"),
        ("latency_s,energy_j,area_mm2\n1,x,2\n", "is no number"),
    ],
)
def test_bad_baselines(folder: Path, tmp_path: Path, text: str, words: str) -> None:
    table = tmp_path / "bad.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=words):
        transcode.report(folder, baseline=table)
    with pytest.raises(InputError, match="is not recorded"):
        transcode.report(folder, baseline=10**9)


def test_better_than_the_baseline_is_counted(folder: Path, page: Path) -> None:
    front = transcode.front(folder)
    signs = {"accuracy": -1, "serve.latency_s": 1, "tune.energy_j": 1, "area_mm2": 1}
    points = np.stack([front[name] * sign for name, sign in signs.items()])
    base = points[:, -1:]
    better = int(((points <= base).all(0) & (points < base).any(0)).sum())
    assert f"<p>{better:,} of the" in page.read_text(encoding="utf-8")


# ---- insight


def test_importances_find_what_decides(tmp_path: Path) -> None:
    """The area of a systolic array is decided by its size, not by its dataflow."""
    from transcode import runs

    transcode.search("smoke", out=tmp_path / "run", budget=800, sampler="random", batch=400)
    importances = insight.importances(runs.query.opened(tmp_path / "run"))
    area = (
        importances["area_mm2"]
        if "area_mm2" in importances
        else importances[next(iter(importances))]
    )
    assert sum(area.values()) == pytest.approx(1.0)
    if "area_mm2" in importances:
        assert area["accelerator.dataflow"] < 0.1 < area["accelerator.rows"]


def test_convergence_ends_at_the_hypervolume_and_never_falls(folder: Path) -> None:
    from transcode import pareto, runs

    recorded = runs.query.opened(folder)
    moment = runs.snapshot.taken(folder)
    curve = insight.convergence(recorded, moment.reference)
    designs = pd.read_parquet(folder / "designs").query("feasible")
    signs = np.array([-1.0 if o.maximise else 1.0 for o in recorded.space.objectives])
    names = [o.name for o in recorded.space.objectives]
    assert curve[-1] == (1500, 1.0)
    shares = [share for _, share in curve]
    assert shares == sorted(shares)
    assert moment.reference is not None
    whole = pareto.hypervolume(designs[names].to_numpy() * signs, moment.reference * signs)
    place, share = curve[len(curve) // 2]
    early = designs[designs["id"] < place][names].to_numpy() * signs
    expected = pareto.hypervolume(early, moment.reference * signs) / whole
    assert share == pytest.approx(expected)


def test_large_fronts_are_thinned_and_keep_their_marks() -> None:
    rows = thinned(5 * MOST, [7, 3 * MOST + 1])
    assert MOST <= len(rows) <= MOST + 2 and {7, 3 * MOST + 1} <= set(rows)
    assert list(thinned(10, [3])) == list(range(10))


def test_a_baseline_that_is_not_recorded_is_named_by_its_option(folder: Path) -> None:
    ended = CliRunner().invoke(main, ["report", str(folder), "--baseline", "999999999"])
    assert ended.exit_code == 2 and "--baseline: is not recorded" in ended.stderr
    shown = CliRunner().invoke(main, ["show", str(folder), "999999999"])
    assert shown.exit_code == 2 and "ID: is not recorded" in shown.stderr
